"""What an operator typed or a stranger sent is shown as text: nothing hidden, nothing lost, nothing executed."""

import io
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapse.engine.events import Event, Kind, log_event
from lapse.engine.visible import json_line, key_from, lines, one_line, takes_unicode, visible, visible_key
from lapse.observability import VisibleFormatter

TEXT = st.text(
    st.characters() | st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Zs"]) | st.sampled_from("\\ ")
)
"""Any text, with many control and format characters, lone surrogates, spaces and backslashes."""


@given(TEXT)
def test_what_is_shown_has_no_control_characters_and_shows_the_same_when_shown_again(text: str) -> None:
    """A text passes several layers, such as an error in a reason in a log: the second one changes nothing."""
    shown = visible(text)
    assert shown.isprintable()
    assert visible(shown) == shown
    assert one_line(text).isprintable()
    assert len(visible(text, 5)) <= len(visible(text[:5])) + 1
    assert all(line.isprintable() for line in lines(text).split("\n"))


@given(TEXT, TEXT)
def test_a_shown_key_is_that_key_and_no_other(key: str, other: str) -> None:
    """A key that was copied from the screen is the key again; two keys never look alike."""
    assert visible_key(key).isprintable()
    assert key_from(visible_key(key)) == key
    assert (visible_key(key) == visible_key(other)) == (key == other)


def test_usual_keys_are_shown_as_they_are() -> None:
    """Escapes are for what cannot be seen: brackets, quotes, other scripts and inner spaces stay."""
    for key in ("1001", "cart[vip]", "[/red]", "订单-1", "naïve", "two words", "it's", '"', "😀"):
        assert visible_key(key) == key
    assert visible("\x1b[31mred\x1b[0m\r\n\0\u202e\x9b") == r"\x1b[31mred\x1b[0m\r\n\x00\u202e\x9b"
    assert visible_key(" a\\n ") == r"\x20a\\n\x20"


@given(TEXT)
def test_json_is_exact_and_printable(text: str) -> None:
    """What a program reads is what was stored, and a person who looks at it sees no control characters."""
    for ascii_only in (True, False):
        line = json_line({"key": [text]}, ascii_only=ascii_only)
        assert line.isprintable()
        assert json.loads(line) == {"key": [text]}
    assert json_line({"key": "订单"}) == '{"key": "订单"}'
    assert json_line({"key": "订单"}, ascii_only=True).isascii()


def test_an_unusual_locale_is_recognised() -> None:
    """Some streams take ASCII only."""
    assert takes_unicode(io.TextIOWrapper(io.BytesIO(), "utf-8"))
    assert not takes_unicode(io.TextIOWrapper(io.BytesIO(), "ascii"))


def test_no_key_and_no_reason_forges_a_line_of_the_log() -> None:
    """A stranger's key has a line end and a colour in it: the log has one line, with both to be seen."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(VisibleFormatter())
    log = logging.getLogger("lapse")
    log.addHandler(handler)
    try:
        log_event(Event(kind=Kind.BURIED, timer="orders", keys=("1\n2",), reason="\x1b[2Jgone\u202e"))
        log.error("for %s", "a\nb", exc_info=ValueError("\x1b[2J"))
    finally:
        log.removeHandler(handler)
    buried, other, *traceback = stream.getvalue().splitlines()
    assert buried.endswith(r"orders: claims buried keys=1\n2 \x1b[2Jgone\u202e")
    assert other.endswith(r"for a\nb")
    assert traceback == [r"ValueError: \x1b[2J"]


def test_any_handler_of_a_shop_gets_text(caplog: pytest.LogCaptureFixture) -> None:
    """A shop has a log of its own: an exception with the colours of a terminal in it is text there too."""
    error = OSError("no \x1b[31mfile\udcff\n\0")
    log_event(Event(kind=Kind.FAILED, timer="orders", keys=("1",), error=error))
    logging.getLogger("lapse").error("%s of %d: %s", "a\x1bb", 3, error)
    failed, other = caplog.records
    assert failed.exc_info
    assert failed.exc_info[1] is error
    assert failed.exc_text == r"OSError: no \x1b[31mfile\udcff" "\n" r"\x00"
    assert other.getMessage() == r"a\x1bb of 3: no \x1b[31mfile\udcff \x00"
