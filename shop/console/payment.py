"""The page of one payment: its facts, the gateway's messages, refunds, notes and history, and what may be done."""

import secrets

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from shop.console.permissions import SETTLE_MONEY, VIEW_PAYMENTS, merchant_of, staff_with
from shop.database import database_now
from shop.orders.history import for_merchant
from shop.payments.models import GatewayMessage, PaymentAttempt
from shop.statistics.models import Refund

MOST_STAFF = 100
MOST_MESSAGES = 100


@require_safe
@staff_with(VIEW_PAYMENTS)
def show(request: HttpRequest, reference: str) -> HttpResponse:
    """Return the page of the payment as it is."""
    attempt = get_object_or_404(
        PaymentAttempt.objects.select_related("order", "assignment__staff").prefetch_related("notes__who"),
        reference=reference,
    )
    may_settle = merchant_of(request).has_perm(SETTLE_MONEY)
    context = {
        "attempt": attempt,
        "order": attempt.order,
        "messages_of_gateway": GatewayMessage.objects.filter(reference=reference)[:MOST_MESSAGES],
        "refunds": Refund.objects.filter(reference=reference).order_by("id"),
        "history": for_merchant(attempt.order),
        "siblings": attempt.order.attempts.exclude(pk=attempt.pk),
        "staff": people_who_settle() if may_settle else [],
        "form_key": secrets.token_hex(16),
        "now": database_now(),
    }
    return render(request, "console/payment_page.html", context)


def people_who_settle() -> list[User]:
    """Return the staff to whom a payment can be assigned."""
    backend = "django.contrib.auth.backends.ModelBackend"
    staff = User.objects.with_perm(SETTLE_MONEY, backend=backend).filter(is_staff=True, is_active=True)
    return list(staff.order_by("username")[:MOST_STAFF])
