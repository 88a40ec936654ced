// The server writes times in UTC; this script shows them in the visitor's time zone.
const written = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "long", timeStyle: "short" });

export function localTimes(part) {
  for (const time of part.querySelectorAll("time[data-local]")) time.textContent = written.format(new Date(time.dateTime));
}

localTimes(document);
