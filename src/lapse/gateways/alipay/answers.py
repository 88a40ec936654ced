"""Verifies and reads Alipay's answers to calls: over the exact bytes that Alipay signed, in any of its charsets."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lapse.engine.visible import visible
from lapse.gateways.alipay.charsets import readings
from lapse.gateways.alipay.messages import CERTIFICATE, WHAT_TO_DO, AlipayRefused, AlipayUnavailable
from lapse.gateways.alipay.signers import Signers, UnknownSigner

OK = "10000"
UNAVAILABLE = "20000"
MOST_TEXT = 300
"""Characters of an answer that an error shows, if Alipay has not signed the answer."""
_SYSTEM_ERROR = re.compile(r"SYSTEM_ERROR$|^isp\.|^aop\.unknow")
_GAP = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as one charset reads it, not verified: its body, the exact bytes of the body, and the signature."""

    body: dict[str, Any]
    exact: bytes
    signature: str
    serial: str

    @property
    def text(self) -> str:
        """The codes and the message, for errors."""
        text = " ".join(str(self.body.get(name, "")) for name in ("code", "sub_code", "sub_msg"))
        return visible(text.strip(), MOST_TEXT)


def read_answer(raw: bytes, content_type: str, *, method: str, signers: Signers) -> dict[str, Any]:
    """Return the answer to a call of `method`, verified. Raises AlipayUnavailable or AlipayRefused."""
    unsigned = None
    for answer in answers(raw, method, content_type):
        try:
            # Alipay may write a slash as `\/` after it signed the text with plain slashes. JSON means the same by both.
            texts = (answer.exact, answer.exact.replace(b"\\/", b"/"))
            if signers.have_signed_answer(texts, answer.signature, answer.serial):
                return checked(answer)
        except UnknownSigner as error:
            raise AlipayUnavailable(f"Alipay's answer cannot be verified: {error}") from error
        unsigned = unsigned or answer
    if unsigned is None:
        raise AlipayUnavailable(f"Alipay's answer is not JSON with a response to {method}")
    hint = WHAT_TO_DO.get(str(unsigned.body.get("sub_code")))
    if hint is None:
        hint = "is alipay_public_key, or alipay_certificate, Alipay's own for this app?" if unsigned.signature else ""
    text = f"Alipay's answer is not signed by Alipay's key: {unsigned.text}".rstrip(": ")
    raise AlipayUnavailable(f"{text}; {hint}" if hint else text)


def checked(answer: Answer) -> dict[str, Any]:
    """Return the body of an answer that Alipay has carried out. Raises AlipayUnavailable or AlipayRefused."""
    code, sub_code, message = (str(answer.body.get(name, "")) for name in ("code", "sub_code", "sub_msg"))
    if code == UNAVAILABLE or _SYSTEM_ERROR.search(sub_code):
        raise AlipayUnavailable(f"Alipay is unavailable: {code} {sub_code}")
    if code != OK:
        raise AlipayRefused(code, sub_code, message or str(answer.body.get("msg", "")))
    return answer.body


def answers(raw: bytes, method: str, content_type: str) -> Iterator[Answer]:
    """Yield the answer to a call of `method` as each charset reads it, none of them verified."""
    for text, starts in readings(raw, content_type):
        try:
            members = _members(text)
        except (ValueError, RecursionError):
            continue
        name = method.replace(".", "_") + "_response"
        body, begin, end = members.get(name) or members.get("error_response") or (None, 0, 0)
        signature, serial = (members[one][0] if one in members else "" for one in ("sign", CERTIFICATE))
        if isinstance(body, dict):
            yield Answer(
                body,
                raw[starts[begin] : starts[end]],
                signature if isinstance(signature, str) else "",
                serial if isinstance(serial, str) else "",
            )


def _members(text: str) -> dict[str, tuple[Any, int, int]]:
    """Return each member of a JSON object: its value, and where its text begins and ends. Raises ValueError."""
    found: dict[str, tuple[Any, int, int]] = {}
    at = _skip(text, 0)
    separator = "{"
    while text[at : at + 1] == separator:
        name, at = _DECODER.raw_decode(text, _skip(text, at + 1))
        at = _skip(text, at)
        if not isinstance(name, str) or name in found or text[at : at + 1] != ":":
            raise ValueError(f"a JSON object with distinct names is expected, at character {at}")
        start = _skip(text, at + 1)
        value, end = _DECODER.raw_decode(text, start)
        found[name] = (value, start, end)
        at = _skip(text, end)
        separator = ","
    if text[at : at + 1] != "}" or _skip(text, at + 1) != len(text):
        raise ValueError(f"the JSON object does not end at character {at}")
    return found


def _skip(text: str, at: int) -> int:
    gap = _GAP.match(text, at)
    return gap.end() if gap else at
