"""What the timers on Redis share, and what `lapse watch` needs besides."""
