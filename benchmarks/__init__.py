"""Measurements and loads, each a command of its own: `python -m benchmarks.shop_load --help`."""
