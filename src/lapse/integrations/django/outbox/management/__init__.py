"""The commands of the outbox for `manage.py`."""
