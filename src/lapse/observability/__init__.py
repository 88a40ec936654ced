"""Observability: hooks for the engine's events, one module for each tool, and less logging by libraries."""

from lapse.observability.lines import VisibleFormatter
from lapse.observability.quiet import quiet_libraries

__all__ = ["VisibleFormatter", "quiet_libraries"]
