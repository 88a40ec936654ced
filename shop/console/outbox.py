"""The messages about orders: what was sent, to whom, when, with which answer; what waits; and sending again."""

from collections.abc import Callable
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from lapse.integrations.django.outbox.history import backlogs, deliveries, give_up, send_again, send_now
from lapse.integrations.django.outbox.models import State
from shop.buyers.changing import changes
from shop.console.permissions import SEND_MESSAGES, VIEW_MESSAGES, staff_with
from shop.console.search import id_in
from shop.database import database_now

SHOWN = 50


@require_safe
@staff_with(VIEW_MESSAGES)
def sent_messages(request: HttpRequest) -> HttpResponse:
    """Return a page of the messages, the newest first, of one order or in one state if the address says so."""
    key, state = request.GET.get("order", "").replace("\0", "").strip()[:64], request.GET.get("state", "")
    state = state if state in State.values else ""
    found = deliveries(key=key, state=state)
    before = id_in(request.GET.get("before", ""))
    if before is not None:
        found = found.filter(pk__lt=before)
    page = list(found[: SHOWN + 1])
    context = {
        "order": key,
        "state": state,
        "states": State.values,
        "deliveries": page[:SHOWN],
        "older": page[SHOWN - 1].pk if len(page) > SHOWN else None,
        "address": urlencode({name: value for name, value in (("order", key), ("state", state)) if value}),
        "backlogs": backlogs(),
        "receivers": bool(settings.LAPSE_OUTBOX),
        "now": database_now(),
    }
    return render(request, "console/outbox.html", context)


@changes("console-outbox")
@staff_with(VIEW_MESSAGES, SEND_MESSAGES)
def send_once_more(request: HttpRequest, pk: int) -> HttpResponse:
    """Send a message again, or try at once to send a message that waits; return to the page."""
    return _act(
        request,
        lambda: send_again(pk) or send_now(pk),
        gettext("A worker sends the message within a second."),
    )


@changes("console-outbox")
@staff_with(VIEW_MESSAGES, SEND_MESSAGES)
def give_message_up(request: HttpRequest, pk: int) -> HttpResponse:
    """Send a message no more, so that the later messages of its order go on; return to the page."""
    return _act(request, lambda: give_up(pk), gettext("The message is given up. Later messages of its order go on."))


def _act(request: HttpRequest, act: Callable[[], bool], done: str) -> HttpResponse:
    """Act on a message, show what was done, and return to the messages of the same order."""
    if act():
        messages.success(request, done)
    else:
        messages.info(request, gettext("Nothing was changed: a worker or another person came first."))
    key = request.POST.get("order", "").replace("\0", "")[:64]
    answer = redirect("console-outbox")
    if key:
        answer["Location"] += f"?{urlencode({'order': key})}"
    return answer
