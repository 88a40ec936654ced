"""The integrations with web frameworks, one package for each framework."""
