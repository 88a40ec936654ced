// The overview refreshes itself: every few seconds the server draws its parts anew, and those that changed are swapped.
// It pauses while nobody looks, and says so when the shop does not answer.
"use strict";

(() => {
  const region = document.querySelector("[data-refresh]");
  if (!region) return;
  const unheard = document.querySelector("[data-unheard]");
  const every = Number(region.dataset.every) || 3000;
  let waiting;

  function swap(text) {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    for (const part of fresh.querySelectorAll("[data-part]")) {
      const old = region.querySelector(`[data-part="${part.dataset.part}"]`);
      // What is the same stays, so that an alarm is read out once and a reader keeps the place.
      if (!old) continue;
      const open = [...old.querySelectorAll("details")].map((one) => one.open);
      part.querySelectorAll("details").forEach((one, place) => { one.open = Boolean(open[place]); });
      if (old.innerHTML === part.innerHTML) continue;
      const focused = old.contains(document.activeElement) ? focusable(old).indexOf(document.activeElement) : -1;
      old.replaceChildren(...part.childNodes);
      if (focused >= 0) focusable(old)[focused]?.focus({ preventScroll: true });
    }
  }

  const focusable = (within) => [...within.querySelectorAll("a[href], button, summary, [tabindex]")];

  async function refresh() {
    clearTimeout(waiting);
    if (document.hidden) return;
    try {
      const answer = await fetch(region.dataset.refresh, {
        headers: { "X-Fragment": "1" }, cache: "no-store", redirect: "manual", signal: AbortSignal.timeout(10000),
      });
      if (answer.type === "opaqueredirect" || answer.status === 403) {
        location.reload();  // signed out meanwhile
        return;
      }
      unheard.hidden = answer.ok;
      if (answer.ok) swap(await answer.text());
    } catch {
      unheard.hidden = false;
    }
    waiting = setTimeout(refresh, every);
  }

  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  waiting = setTimeout(refresh, every);
})();
