// Counts the seconds until the link ends, by a clock that does not step, then loads the page again.
const left = document.querySelector("[data-seconds]");
if (left) {
  const over = performance.now() + Number(left.dataset.seconds) * 1000;
  const tick = () => {
    const seconds = Math.ceil((over - performance.now()) / 1000);
    if (seconds <= 0) {
      location.reload();
      return;
    }
    left.textContent = left.dataset.words.replace("%", seconds);
    setTimeout(tick, 250);
  };
  tick();
}

// A phone that follows the code scans or pays the same link: this page then shows it.
const state = document.querySelector("main").dataset.state;
// The buyer has pressed a button here: to load the page again would keep the browser from going on.
let leaving = false;
document.addEventListener("submit", () => { leaving = true; });
const look = async () => {
  try {
    const page = await (await fetch(location.href)).text();
    const now = new DOMParser().parseFromString(page, "text/html").querySelector("main").dataset.state;
    if (leaving) return;
    if (now !== state) {
      location.reload();
      return;
    }
  } catch {
    // the simulator has stopped; the page stays as it is
  }
  setTimeout(look, 2000);
};
if (state === "open" || state === "waiting") setTimeout(look, 2000);
