"""The parts of `make run`: its settings, what it creates once, and the programs that it keeps running."""
