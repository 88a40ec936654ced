"""Why a server cannot be reached, for operators: a driver's words without its numbers, and what to do."""

import re

_SOCKET = re.compile(r".*Error -?\d+ connecting to (\S+)\. ")
"""So redis-py begins the error of a connection; for a cluster, more of its own words come before."""

_NUMBERS = re.compile(r"\[Errno -?\d+\] |\[SSL: \w+\] | \(_ssl\.c:\d+\)|^connection (failed|is bad): ")

_NO_SUCH_HOST = r"name or service not known|in name resolution|nodename nor servname|no address associated"

ADVICE = {
    r"connection refused": "no server listens there: check the host and the port in the URL, and that the server runs",
    f"{_NO_SUCH_HOST}|failed to resolve": "this host has no address: check the host in the URL, and the name server",
    r"no such file or directory": "there is no socket: check the path in the URL, and that the server runs",
    r"permission denied$": "this process may not use the socket: permit it to the user of this process",
    r"network is unreachable|no route to host": "no network leads there: check the host in the URL, and the network",
    r"timed out|timeout": "check the host and the port in the URL, that the server runs, and firewalls",
    r"wrong.version.number|record.layer": "there is no TLS at this port: name the port for TLS, or a URL without TLS",
}
"""A pattern of the operating system's or OpenSSL's words → what to do."""


def plain(words: str) -> str:
    """Return the words of an error without the numbers of the operating system, for a sentence."""
    return _NUMBERS.sub("", _SOCKET.sub(r"\1: ", words, count=1))


def explained(words: str, *, within: str = "the URL") -> str:
    """Return the words of an error as `plain` does, and what to do where that is known. `within` has the address."""
    advice = next((advice for pattern, advice in ADVICE.items() if re.search(pattern, words, re.IGNORECASE)), "")
    advice = advice.replace("the URL", within)
    return f"{plain(words)}; {advice}" if advice else plain(words)
