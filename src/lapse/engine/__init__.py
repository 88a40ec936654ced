"""The contract and the worker: the standard library only, no input or output."""
