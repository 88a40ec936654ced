"""Observability: hooks for the engine's events, one module for each tool, and less logging by libraries."""

from lapse.observability.quiet import quiet_libraries

__all__ = ["quiet_libraries"]
