"""Lapse cancels unpaid orders on time, once, and gives their stock back, whatever crashes."""

__version__ = "0.1.0"
