"""The APScheduler mechanism: `timer.py` is the timer, the other files are its parts."""
