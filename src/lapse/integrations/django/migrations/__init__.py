"""The timer's table."""
