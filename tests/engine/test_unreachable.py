"""What a message says about a server that cannot be reached, in the words of each driver."""

import pytest

from lapse.engine.unreachable import explained, plain

CHECK = "check the host and the port in the URL"


@pytest.mark.parametrize(
    ("words", "said"),
    {
        "Error 111 connecting to h:6379. Connection refused": "h:6379: Connection refused; no server listens there",
        "No node: Error 111 connecting to h:7000. Connection refused": "h:7000: Connection refused; no server",
        "Error -2 connecting to h:6379. Name or service not known": "h:6379: Name or service not known; this host has",
        "Error 2 connecting to /run/r.sock. No such file or directory": "/run/r.sock: No such file or directory; there",
        "failed to resolve host 'h': [Errno -2] Name or service not known": "Name or service not known; this host has",
        "[Errno 113] No route to host": "No route to host; no network leads there",
        "[Errno 111] Connection refused": f"Connection refused; no server listens there: {CHECK}",
        "connection failed: timeout expired": f"timeout expired; {CHECK}",
        "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)": "wrong version number; there is no TLS",
    }.items(),
)
def test_a_server_that_cannot_be_reached_is_explained_without_numbers(words: str, said: str) -> None:
    """The answer was "Error 111 connecting to …": each cause has what to do, and no number of a driver."""
    text = explained(words)
    assert said in text
    assert "Errno" not in text
    assert not text.startswith("Error")
    assert plain(words) in text


def test_other_words_stay_as_they_are() -> None:
    """A reason without known advice keeps its words."""
    assert explained("the server is shutting down") == "the server is shutting down"
