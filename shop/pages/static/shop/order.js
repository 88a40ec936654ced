// The pages of orders: they count down by the shop's clock, and update themselves when an order is paid or cancelled.
import { fetchPage, follow } from "./live.js";
import { localTimes } from "./times.js";

const root = document.querySelector("[data-live]");
const orders = () => [...(root.matches("[data-order]") ? [root] : root.querySelectorAll("[data-order]"))];
const waits = (order) => !["paid", "cancelled"].includes(order.dataset.status);
// Money may come after the order's end, or go back: the page says what became of it.
const ended = (order) => !waits(order) && !order.dataset.moving;
const allEnded = () => orders().every(ended);

// The shop's time: the last time that it sent, plus what a monotonic clock has counted since then.
let shopTime = Date.parse(root.dataset.now);
let receivedAt = performance.now();
const left = (order) => Date.parse(order.dataset.payBy) - (shopTime + performance.now() - receivedAt);

function show(order) {
  const milliseconds = left(order);
  // Rounded up, so that 0:00 is shown only when the time is over.
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  const two = (number) => String(number).padStart(2, "0");
  const text = (hours ? `${hours}:${two(minutes)}` : minutes) + `:${two(seconds % 60)}`;
  const countdown = order.querySelector("[data-countdown]");
  if (countdown && countdown.textContent !== text) countdown.textContent = text;
  if (milliseconds > 0) return;
  // A disabled button loses the focus, so the focus moves to the order's state.
  if (order.querySelector("[data-actions] :focus")) order.querySelector("[tabindex]")?.focus();
  order.querySelectorAll("[data-actions] button").forEach((button) => { button.disabled = true; });
}

let pollAgainAt = 0;
let ticking = false;
function tick() {
  const waiting = orders().filter(waits);
  ticking = waiting.length > 0;
  if (!ticking) return;
  waiting.forEach(show);
  // The time is over and no event came: reading the order lapses it, even if no worker runs.
  if (Math.min(...waiting.map(left)) < -1500 && performance.now() > pollAgainAt) {
    pollAgainAt = performance.now() + 2000;
    poll();
  }
  setTimeout(tick, Math.max(20, Math.min(...waiting.map((order) => Math.abs(left(order)) % 1000 || 1000))));
}

let updating = false;
async function update() {
  if (updating) return;
  updating = true;
  try {
    const page = await fetchPage();
    const hadFocus = root.querySelector("[data-swap] :focus") !== null;
    for (const part of root.querySelectorAll("[data-swap]")) {
      const now = page.querySelector(`[data-swap="${part.dataset.swap}"]`);
      if (now) part.replaceChildren(...now.childNodes);
    }
    localTimes(root);
    if (root.dataset.order) {
      const now = page.querySelector("[data-order]");
      for (const name of ["cancelReason", "moneyVersion", "moving", "payBy", "status"]) root.dataset[name] = now.dataset[name];
    }
    // The element that had the focus is gone.
    if (hadFocus) root.querySelector("[tabindex]")?.focus();
    if (allEnded()) stop();
    else if (!ticking) tick();
  } catch {
    setTimeout(update, 1000); // the shop cannot be reached at the moment
  } finally {
    updating = false;
  }
}

function onState(state) {
  shopTime = Date.parse(state.now);
  receivedAt = performance.now();
  const order = orders().find((shown) => shown.dataset.order === state.id);
  if (!order) return;
  const { status, moneyVersion, payBy } = order.dataset;
  // The list of orders shows no sentence about money.
  const money = moneyVersion !== undefined && moneyVersion !== state.money;
  // A merchant may give more time: the countdown moves with the deadline.
  const moved = Date.parse(payBy) !== Date.parse(state.pay_by);
  if (status !== state.status || moved || money) update();
}

async function poll() {
  if (!root.dataset.statusUrl) { update(); return; }
  try {
    const response = await fetch(root.dataset.statusUrl, { cache: "no-store" });
    if (response.ok) onState(await response.json());
  } catch {
    // The shop cannot be reached at the moment: the next poll may succeed.
  }
}

let stop = () => {};
if (!allEnded()) {
  stop = follow(root.dataset.eventsUrl, "order", onState, poll);
  tick();
}
