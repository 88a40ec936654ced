"""Filters of the console."""
