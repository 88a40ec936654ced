"""The page of buried deadlines: why the workers gave them up, and a button that tries again."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from lapse.observability import key_from
from shop.buyers.changing import changes
from shop.console.permissions import REVIVE, VIEW_STATISTICS, staff_with
from shop.console.timer_query import NoTimer, TimerNotAnswering, query

SHOWN = 100
REVIVE_WITHIN = 5.0
"""Seconds that the page waits for the timer to revive a deadline."""


@require_safe
@staff_with(VIEW_STATISTICS)
def buried_deadlines(request: HttpRequest) -> HttpResponse:
    """Return the page with the buried deadlines, the longest buried first."""
    context: dict[str, object] = {"buried": [], "timer_error": "", "no_timer": False}
    try:
        context["buried"] = query(lambda timer: timer.buried(SHOWN))
    except TimerNotAnswering as error:
        context["timer_error"] = str(error)
    except NoTimer:
        context["no_timer"] = True
    return render(request, "console/buried.html", context)


@changes("console-buried")
@staff_with(VIEW_STATISTICS, REVIVE)
def revive(request: HttpRequest) -> HttpResponse:
    """Make one deadline due again at once, with its attempts reset to 0, and return to the page."""
    # As the page shows it: a browser would change a line end in a key.
    keys = list(filter(None, [key_from(request.POST.get("key", ""))]))
    try:
        revived = query(lambda timer: timer.revive(keys), within=REVIVE_WITHIN)
    except TimerNotAnswering:
        text = gettext("The timer does not answer, so it is not known whether anything has changed. Check again.")
        messages.error(request, text)
    except NoTimer:
        messages.error(request, gettext("There is no timer: the sweep alone cancels orders."))
    else:
        if revived:
            messages.success(request, gettext("The deadline is due again. A worker tries it at once."))
        else:
            messages.info(request, gettext("This deadline is no longer buried."))
    return redirect("console-buried")
