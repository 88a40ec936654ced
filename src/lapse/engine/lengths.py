"""Lengths of time as text for people."""

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
YEAR = 365.2425 * DAY


def in_words(milliseconds: float) -> str:
    """Return a length of time as text: 350 ms, 12.4 s, 5 min 3 s, 2 h 0 min, 3 d 4 h, 54,794 years."""
    if milliseconds < SECOND:
        return f"{milliseconds:.0f} ms"
    if milliseconds < MINUTE:
        return f"{milliseconds / SECOND:.1f} s"
    if milliseconds >= 2 * YEAR:
        return f"{milliseconds / YEAR:,.0f} years"
    minutes, rest = divmod(int(milliseconds) // SECOND, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
