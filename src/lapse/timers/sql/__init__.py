"""Timers in a table of an SQL database: the code that all dialects share, and the files of each dialect.

`database.py` says what a new dialect needs.
"""
