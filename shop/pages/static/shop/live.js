// A stream of events from the shop, and asking now and then where none comes through.
// Hidden pages hold no stream: a browser opens six connections to one shop at most, however many tabs there are.

const ASK_EVERY = 3000;
const TRY_AGAIN_AFTER = 60000;

export function follow(url, name, hear, ask) {
  let source = null;
  let asking = 0;
  let again = 0;
  let over = false;

  const stopAsking = () => { clearInterval(asking); asking = 0; };
  const close = () => {
    if (source) source.close();
    source = null;
    clearTimeout(again);
    stopAsking();
  };
  const open = () => {
    if (over || source || document.hidden) return;
    source = new EventSource(url);
    source.addEventListener("open", stopAsking);
    source.addEventListener(name, (event) => hear(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      if (!asking) asking = setInterval(ask, ASK_EVERY);
      // Refused outright: the browser does not try again by itself.
      if (source && source.readyState === EventSource.CLOSED) {
        source = null;
        again = setTimeout(open, TRY_AGAIN_AFTER);
      }
    });
  };
  const turn = () => (document.hidden ? close() : open());

  document.addEventListener("visibilitychange", turn);
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
  return () => { over = true; close(); };
}

// This page as it is now, without loading it: its texts are the server's, in the visitor's language.
export async function fetchPage() {
  const answer = await fetch(location.href, { cache: "no-store", headers: { Accept: "text/html" } });
  if (!answer.ok || answer.redirected) throw new Error(`the shop answered ${answer.status}`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}
