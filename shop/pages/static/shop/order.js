// The order's page: counts down by the shop's clock and turns by itself when the order is paid or cancelled.
"use strict";

(() => {
  const order = document.querySelector("[data-order][data-status-url]");
  if (!order) return;
  const countdown = order.querySelector("[data-countdown]");
  const line = order.querySelector("[data-state-line]");
  const more = order.querySelector("[data-state-more]");

  const MORE = {
    expired: "It was not paid in time.",
    buyer: "You cancelled it.",
    merchant: "The shop cancelled it.",
  };

  // The shop's time is `now` of its last answer plus what a clock that is never set has counted since then.
  let shopTime = Date.parse(order.dataset.now);
  let heardAt = performance.now();
  let payBy = Date.parse(order.dataset.payBy);
  const left = () => payBy - (shopTime + performance.now() - heardAt);
  const ended = () => ["paid", "cancelled"].includes(order.dataset.status);

  function tick() {
    if (ended() || !countdown) return;
    // Rounded up, so that 0:00 is shown only when the time is over.
    const seconds = Math.max(0, Math.ceil(left() / 1000));
    const hours = Math.floor(seconds / 3600);
    const minutes = Math.floor(seconds / 60) % 60;
    const two = (number) => String(number).padStart(2, "0");
    countdown.textContent = (hours ? `${hours}:${two(minutes)}` : minutes) + `:${two(seconds % 60)}`;
    if (left() <= 0) order.querySelectorAll("[data-actions] button").forEach((button) => { button.disabled = true; });
    setTimeout(tick, Math.max(20, Math.min(left() % 1000 || 1000, 1000)));
  }

  function turn(state) {
    order.dataset.status = state.status;
    order.dataset.cancelReason = state.cancel_reason;
    if (state.status === "paid") {
      line.textContent = "Paid";
      more.textContent = "Thank you. We are packing it.";
    } else if (state.status === "cancelled") {
      line.textContent = "Cancelled, the stock is back";
      more.textContent = MORE[state.cancel_reason] || "";
    } else {
      line.textContent = state.status === "closing" ? "Closing…" : "Waiting for your payment";
      const pay = order.querySelector("[data-pay]");
      if (pay && !state.payable) pay.disabled = true;
      return;
    }
    const unpaid = order.querySelector("[data-while-unpaid]");
    if (unpaid) unpaid.remove();
  }

  async function ask() {
    let wait;
    try {
      const asked = performance.now();
      const answer = await fetch(order.dataset.statusUrl, { headers: { Accept: "application/json" }, cache: "no-store" });
      if (answer.ok) {
        const state = await answer.json();
        // The answer was made between asking and hearing: take the middle.
        heardAt = (asked + performance.now()) / 2;
        shopTime = Date.parse(state.now);
        payBy = Date.parse(state.pay_by);
        turn(state);
      } else if (answer.status === 401 || answer.status === 404) {
        return;
      }
    } catch {
      // The shop cannot be reached just now: the next question may be answered.
      wait = 2000;
    }
    if (!ended()) setTimeout(ask, wait ?? pause());
  }

  // Every other second, and right at the deadline; for a while after it, quickly.
  function pause() {
    const rest = left();
    if (rest > 0) return Math.max(30, Math.min(2000, rest + 30));
    return rest > -10000 ? 250 : 2000;
  }

  if (!ended()) {
    tick();
    setTimeout(ask, pause());
  }
})();
