"""What the timers in SQL share, and what each of their servers needs besides."""
