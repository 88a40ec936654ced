"""Observability: a hook on the engine's events for each tool, quiet libraries, text that is safe to show."""

from lapse.engine.visible import key_from, visible, visible_key
from lapse.observability.lines import VisibleFormatter
from lapse.observability.quiet import quiet_libraries

__all__ = ["VisibleFormatter", "key_from", "quiet_libraries", "visible", "visible_key"]
