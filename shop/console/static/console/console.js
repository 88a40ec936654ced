// The overview refreshes itself: every few seconds it fetches its parts from the server and replaces those that changed.
// It pauses while the page is hidden, and shows a notice when the shop does not answer.
"use strict";

(() => {
  const region = document.querySelector("[data-refresh]");
  if (!region) return;
  const stale = document.querySelector("[data-stale]");
  const every = Number(region.dataset.every) || 3000;
  let waiting;

  function replaceParts(text) {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    for (const part of fresh.querySelectorAll("[data-part]")) {
      const old = region.querySelector(`[data-part="${part.dataset.part}"]`);
      // A part that is unchanged stays, so that a screen reader reads an alarm once and keeps its place.
      if (!old) continue;
      const open = [...old.querySelectorAll("details")].map((details) => details.open);
      part.querySelectorAll("details").forEach((details, index) => { details.open = Boolean(open[index]); });
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
      stale.hidden = answer.ok;
      if (answer.ok) replaceParts(await answer.text());
    } catch {
      stale.hidden = false;
    }
    waiting = setTimeout(refresh, every);
  }

  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  waiting = setTimeout(refresh, every);
})();
