// Keeps the list of trades up to date, unless a person is about to use it.
const live = document.querySelector("[data-live]");
const look = async () => {
  if (!document.hidden && !live.contains(document.activeElement)) {
    try {
      const page = await (await fetch(location.pathname + location.search)).text();
      const fresh = new DOMParser().parseFromString(page, "text/html").querySelector("[data-live]");
      if (fresh && fresh.innerHTML !== live.innerHTML && !live.contains(document.activeElement)) {
        live.innerHTML = fresh.innerHTML;
      }
    } catch {
      // the simulator has stopped; the page stays as it is
    }
  }
  setTimeout(look, 2000);
};
if (live) setTimeout(look, 2000);
