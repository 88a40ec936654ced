"""One file per tool, each a hook on the worker's events."""
