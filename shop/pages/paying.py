"""The page of the development gateway. It is the gateway's side: the attempt's unguessable number opens it."""

from http import HTTPStatus

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from shop.orders.reading import fresh
from shop.payments.development import pay_now
from shop.payments.models import PaymentAttempt, State


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def development_pay(request: HttpRequest, out_trade_no: str) -> HttpResponse:
    """Show the amount and one button. Pressed in time, it pays at once; too late, no money is taken."""
    attempt = PaymentAttempt.objects.select_related("order").filter(out_trade_no=out_trade_no).first()
    # It pays without money, so it is not there at all unless it was chosen.
    if attempt is None or settings.SHOP_GATEWAY != "development" or attempt.gateway != "development":
        raise Http404
    refused = False
    if request.method == "POST":
        if attempt.state == State.SUCCEEDED or pay_now(out_trade_no):
            return redirect("order", attempt.order.public_id)
        refused = True
    reading = fresh(attempt.order_id)
    context = {"attempt": attempt, "reading": reading, "refused": refused}
    status = HTTPStatus.CONFLICT if refused else HTTPStatus.OK
    return render(request, "shop/development_pay.html", context, status=status)
