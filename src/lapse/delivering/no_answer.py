"""Why a receiver gave no answer, for operators: the cause, and what to do about the address."""

import re

from lapse.engine.unreachable import explained, plain
from lapse.engine.visible import visible

_ADVICE = {
    "certificate verify failed": "name the file of the authority that signed the certificate in SSL_CERT_FILE",
    "disconnected without": "if this port is for TLS, write https:// in the address",
    "^(ReadTimeout|WriteTimeout)": "the receiver is slower than --timeout: it must answer before it does slow work",
}
"""A pattern of a kind of error and its words → what to do, beside the advice for every server."""


def reason_of(error: Exception) -> str:
    """Return one line with the kind of an error of the network, its words without numbers, and what to do if known."""
    words = str(error).rstrip(".: ")
    kind = type(error).__name__
    advice = next((advice for pattern, advice in _ADVICE.items() if re.search(pattern, f"{kind}: {words}")), "")
    text = f"{plain(words)}; {advice}" if advice else explained(words, within="the address")
    return visible(f"{kind}: {text}".rstrip(": "))
