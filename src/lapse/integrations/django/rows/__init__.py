"""The orders' rows in Django's databases: how they are locked, read and changed, and when they are due."""
