"""Deadlines that the workers gave up on: why, and another try."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_POST, require_safe

from shop.console.merchants import REVIVE, VIEW_FIGURES
from shop.console.permissions import staff_with
from shop.console.timer_query import NoTimer, TimerAway, ask

SHOWN = 100
ANSWER_WITHIN = 5.0


@require_safe
@staff_with(VIEW_FIGURES)
def graves(request: HttpRequest) -> HttpResponse:
    """List them, the longest buried first."""
    context: dict[str, object] = {"buried": [], "away": "", "none": False}
    try:
        context["buried"] = ask(lambda timer: timer.buried(SHOWN))
    except TimerAway as error:
        context["away"] = str(error)
    except NoTimer:
        context["none"] = True
    return render(request, "console/buried.html", context)


@require_POST
@staff_with(VIEW_FIGURES, REVIVE)
def revive(request: HttpRequest) -> HttpResponse:
    """Make one due again, at once; its attempts are counted from nought."""
    keys = list(filter(None, [request.POST.get("key", "")]))
    try:
        revived = ask(lambda timer: timer.revive(keys), within=ANSWER_WITHIN)
    except TimerAway:
        messages.error(request, gettext("The timer does not answer. Nothing is known to have changed; look again."))
    except NoTimer:
        messages.error(request, gettext("There is no timer: the sweep alone cancels orders."))
    else:
        if revived:
            messages.success(request, gettext("It is due again, and a worker will try at once."))
        else:
            messages.info(request, gettext("It is not buried any more."))
    return redirect("console-buried")
