"""The frame of every page of the simulator: one template, one strict policy, two languages."""

import re
from html import escape
from importlib.resources import files
from string import Template
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from lapse.testing.alipay.messages import MESSAGES, language

PAGE = Template(files("lapse.testing.alipay").joinpath("page.html").read_text(encoding="utf-8"))
_TAG = re.compile(r"<[^>]*>")


def render(
    request: Request,
    title: str,
    body: str,
    *,
    state: str,
    status: int = 200,
    form_to: str = "",
    script: str = "cashier",
    here: str = "",
) -> Response:
    """Return a page. `title` and `body` are HTML, and `script` names the page's script.

    `form_to` is another site to which a form may lead. `here` is the page's address, if that of the request is only a
    button's.
    """
    lang = language(request)
    texts = MESSAGES[lang]
    other = "en" if lang == "zh" else "zh"
    here = here or request.url.path
    text = PAGE.substitute(
        lang="zh-CN" if lang == "zh" else "en",
        short=lang,
        title=title,
        plain_title=_TAG.sub("", title),
        script=script,
        body=body,
        state=state,
        name=texts["name"],
        warning=texts["warning"],
        other=escape(f"{here}?{urlencode({**request.query_params, 'lang': other})}"),
        other_lang="zh-CN" if other == "zh" else "en",
        other_name=MESSAGES[other]["language"],
    )
    # A browser checks a form's redirect by form-action too, so the shop's own origin is allowed.
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
        f"frame-ancestors 'none'; form-action 'self' {form_to}".rstrip()
    )
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
    return HTMLResponse(text, status, headers)
