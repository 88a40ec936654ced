"""Replaces a script that listens to expired Redis keys: it tracks the keys in a ledger and delivers their orders."""
