"""The QR code of a cashier's page, which a phone follows. This module alone needs segno, and the page works without."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from urllib.parse import urljoin, urlsplit

from starlette.requests import Request

from lapse.network.loopback import is_loopback
from lapse.testing.alipay.html import tag
from lapse.testing.alipay.messages import MESSAGES, language

segno: ModuleType | None = import_module("segno") if find_spec("segno") else None
"""None in an old installation of the extra "simulator": the page then says what to install."""


def qr_code(request: Request, path: str, public_url: str) -> str:
    """Return the HTML of a code that opens `path` of this simulator, and of what a phone needs to follow it.

    `public_url` is the simulator's address in the network, "" for the address that the browser uses.
    """
    texts = MESSAGES[language(request)]
    base = public_url or str(request.base_url)
    local = is_loopback(urlsplit(base).hostname or "")
    hint = tag("p", texts["only_here" if local else "with_phone"], class_="hint", data_phone="no" if local else "yes")
    if segno is None:
        return tag("p", texts["no_segno"], class_="hint", data_no_code=True) + hint
    address = urljoin(base, path)
    code = segno.make(address, error="m", micro=False)
    drawn = code.svg_inline(omitsize=True, border=2, svgclass=None, lineclass=None)
    label = {"role": "img", "aria-label": texts["code"]}
    return tag("div", drawn, class_="picture", data_code=address, **label) + hint
