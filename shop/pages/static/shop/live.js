// Follows a stream of events from the shop, and polls while no stream can be opened.
// Hidden pages hold no stream: a browser opens at most six connections to one shop, for all its tabs.

const POLL_EVERY = 3000;
const OPEN_AGAIN_AFTER = 60000;

export function follow(url, name, onState, poll) {
  let source = null;
  let polling = 0;
  let opening = 0;
  let stopped = false;

  const stopPolling = () => { clearInterval(polling); polling = 0; };
  const close = () => {
    if (source) source.close();
    source = null;
    clearTimeout(opening);
    stopPolling();
  };
  const open = () => {
    if (stopped || source || document.hidden) return;
    source = new EventSource(url);
    source.addEventListener("open", stopPolling);
    source.addEventListener(name, (event) => onState(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      if (!polling) polling = setInterval(poll, POLL_EVERY);
      // The server refused the stream: the browser does not open it again by itself.
      if (source && source.readyState === EventSource.CLOSED) {
        source = null;
        opening = setTimeout(open, OPEN_AGAIN_AFTER);
      }
    });
  };
  const onVisibility = () => (document.hidden ? close() : open());

  document.addEventListener("visibilitychange", onVisibility);
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
  return () => { stopped = true; close(); };
}

// Fetches this page as it is now. Its texts come from the server, in the visitor's language.
export async function fetchPage() {
  const response = await fetch(location.href, { cache: "no-store", headers: { Accept: "text/html" } });
  if (!response.ok || response.redirected) throw new Error(`the shop answered ${response.status}`);
  return new DOMParser().parseFromString(await response.text(), "text/html");
}
