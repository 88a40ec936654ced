// The pages of orders: count down by the shop's clock, and turn by themselves when an order is paid or cancelled.
import { fetchPage, follow } from "./live.js";
import { localTimes } from "./times.js";

const root = document.querySelector("[data-live]");
const orders = () => [...(root.matches("[data-order]") ? [root] : root.querySelectorAll("[data-order]"))];
const ended = (order) => ["paid", "cancelled"].includes(order.dataset.status);
const allEnded = () => orders().every(ended);

// The shop's time is what it last told, and what a clock that is never set has counted since then.
let shopTime = Date.parse(root.dataset.now);
let heardAt = performance.now();
const left = (order) => Date.parse(order.dataset.payBy) - (shopTime + performance.now() - heardAt);

function show(order) {
  const rest = left(order);
  // Rounded up, so that 0:00 is shown only when the time is over.
  const seconds = Math.max(0, Math.ceil(rest / 1000));
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  const two = (number) => String(number).padStart(2, "0");
  const text = (hours ? `${hours}:${two(minutes)}` : minutes) + `:${two(seconds % 60)}`;
  const countdown = order.querySelector("[data-countdown]");
  if (countdown && countdown.textContent !== text) countdown.textContent = text;
  if (rest > 0) return;
  // A button that is switched off loses the focus; the keyboard goes on from what is happening.
  if (order.querySelector("[data-actions] :focus")) order.querySelector("[tabindex]")?.focus();
  order.querySelectorAll("[data-actions] button").forEach((button) => { button.disabled = true; });
}

let lateAskAt = 0;
function tick() {
  if (allEnded()) return;
  const waiting = orders().filter((order) => !ended(order));
  waiting.forEach(show);
  // Nothing was told although the time is over: asking makes it so, even where no worker runs.
  if (Math.min(...waiting.map(left)) < -1500 && performance.now() > lateAskAt) {
    lateAskAt = performance.now() + 2000;
    ask();
  }
  setTimeout(tick, Math.max(20, Math.min(...waiting.map((order) => Math.abs(left(order)) % 1000 || 1000))));
}

let turning = false;
async function turn() {
  if (turning) return;
  turning = true;
  try {
    const page = await fetchPage();
    const held = root.querySelector("[data-swap] :focus") !== null;
    for (const part of root.querySelectorAll("[data-swap]")) {
      const now = page.querySelector(`[data-swap="${part.dataset.swap}"]`);
      if (now) part.replaceChildren(...now.childNodes);
    }
    localTimes(root);
    if (root.dataset.order) {
      const now = page.querySelector("[data-order]");
      for (const name of ["cancelReason", "payBy", "status"]) root.dataset[name] = now.dataset[name];
    }
    // What had the focus is gone.
    if (held) root.querySelector("[tabindex]")?.focus();
    if (allEnded()) stop();
  } catch {
    setTimeout(turn, 1000); // the shop cannot be reached just now
  } finally {
    turning = false;
  }
}

function hear(state) {
  shopTime = Date.parse(state.now);
  heardAt = performance.now();
  const order = orders().find((one) => one.dataset.order === state.id);
  if (order && order.dataset.status !== state.status) turn();
}

async function ask() {
  if (!root.dataset.statusUrl) { turn(); return; }
  try {
    const answer = await fetch(root.dataset.statusUrl, { cache: "no-store" });
    if (answer.ok) hear(await answer.json());
  } catch {
    // The shop cannot be reached just now: the next question may be answered.
  }
}

let stop = () => {};
if (!allEnded()) {
  stop = follow(root.dataset.eventsUrl, "order", hear, ask);
  tick();
}
