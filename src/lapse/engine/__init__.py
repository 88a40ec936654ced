"""The timer's contract and the worker. This package uses the standard library only and does no input or output."""
