"""What watches the work: hooks on the engine's events, one module for each tool, and quiet logs of libraries."""

from lapse.observability.quiet import quiet_libraries

__all__ = ["quiet_libraries"]
