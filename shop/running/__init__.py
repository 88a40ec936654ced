"""The parts of `make run`: what it is told, what it makes once, and the programs that it keeps going."""
