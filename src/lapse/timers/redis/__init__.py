"""Two timers on Redis: the delay queue (`queue.py`) and, on top of it, expiring keys (`expiry.py`)."""
