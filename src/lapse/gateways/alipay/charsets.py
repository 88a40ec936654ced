"""The charsets in which Alipay writes: UTF-8, and GBK with its relatives. Alipay may choose another than the call.

A signature covers bytes. So bytes are verified as they came, and decoded afterwards. Only charsets are known in which
every ASCII byte outside of a Chinese character means itself; with others, one signed message could have two meanings.
"""

import codecs
import re
from collections.abc import Iterator, Sequence
from urllib.parse import parse_qsl

UTF_8 = "utf-8"
GB18030 = "gb18030"
"""It contains GBK, which contains GB2312."""
_CODECS = {"utf-8": UTF_8, "utf8": UTF_8, "gbk": GB18030, "gb2312": GB18030, "gb18030": GB18030}
KNOWN = "UTF-8, GBK, GB2312 and GB18030"
MOST_FIELDS = 500
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([^\s;\"']+)", re.IGNORECASE)


def codec_of(charset: str) -> str | None:
    """Return the codec that reads a charset, or None for a charset that is not known."""
    return _CODECS.get(charset.strip().lower())


def declared_charset(content_type: str) -> str:
    """Return the charset that a Content-Type header names, or ""."""
    found = _CHARSET.search(content_type)
    return found[1] if found else ""


def raw_fields(form: bytes) -> dict[str, str]:
    """Return the fields of a form or query, each byte as one character. Raises ValueError for far too many fields."""
    pairs = parse_qsl(form.decode("latin-1"), keep_blank_values=True, encoding="latin-1", max_num_fields=MOST_FIELDS)
    return dict(pairs)


def decoded_fields(fields: dict[str, str], codec: str) -> dict[str, str]:
    """Return what `raw_fields` has read, as text. A character that was cut becomes U+FFFD: the money still counts."""
    return {name: value.encode("latin-1").decode(codec, "replace") for name, value in fields.items()}


def readings(raw: bytes, content_type: str) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield the text of an answer as each charset reads it, the likeliest first.

    With each text comes the byte at which each of its characters begins, and the number of bytes.
    The header may be wrong: Alipay has answered calls in UTF-8 by errors in GBK. So the signature decides which reading
    is right. The last reading also takes a text in which Alipay has cut a character.
    """
    if raw.isascii():
        yield raw.decode("ascii"), range(len(raw) + 1)
        return
    declared = codec_of(declared_charset(content_type))
    for codec, errors in dict.fromkeys([(declared or UTF_8, "strict"), (UTF_8, "strict"), (GB18030, "replace")]):
        try:
            yield _decoded(raw, codec, errors)
        except UnicodeDecodeError:
            continue


def _decoded(raw: bytes, codec: str, errors: str) -> tuple[str, list[int]]:
    decoder = codecs.getincrementaldecoder(codec)(errors)
    text: list[str] = []
    starts: list[int] = []
    begin = 0
    for at in range(len(raw) + 1):
        piece = decoder.decode(raw[at : at + 1], final=at == len(raw))
        if piece:
            end = min(at + 1, len(raw)) - len(decoder.getstate()[0])
            # Several characters at once: the first replaces what cannot be read, each other one is a byte of its own.
            starts += [begin, *range(end - len(piece) + 1, end)]
            text.append(piece)
            begin = end
    return "".join(text), [*starts, len(raw)]
