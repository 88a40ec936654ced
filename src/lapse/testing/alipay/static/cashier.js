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
