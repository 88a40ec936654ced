"""The mails to buyers, in the language in which each order was placed."""

from collections.abc import Mapping
from datetime import UTC, datetime

from django.conf import settings
from django.core.mail import EmailMessage
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _

from lapse.integrations.django.outbox import Message
from shop.orders.models import Order, Status


def mail(message: Message) -> EmailMessage | None:
    """Return the mail about a message of the outbox, or None if there is nothing to tell the buyer any more."""
    order = Order.objects.select_related("buyer").filter(public_id=message.key).first()
    if order is None or not order.buyer.email:
        return None
    if message.type == "order.expiring" and order.status != Status.AWAITING_PAYMENT:
        return None  # the mail server was away, and meanwhile the order was paid or cancelled
    with translation.override(order.language or settings.LANGUAGE_CODE):
        subject, text = _words(message.type, message.data)
        link = _("Your order: %s") % (settings.PUBLIC_URL + reverse("order", args=[order.public_id]))
    return EmailMessage(subject, f"{text}\n\n{link}\n", to=[order.buyer.email])


def _words(kind: str, data: Mapping[str, str]) -> tuple[str, str]:
    """Return the subject and the text, in the active language."""
    about = {"number": data["order"][:8], "total": f"¥{data['total']}"}
    match kind:
        case "order.paid":
            return (
                _("Your order %(number)s is paid") % about,
                _("Thank you. Your order %(number)s of %(total)s is paid, and we are packing it.") % about,
            )
        case "order.lapsed":
            return (
                _("Your order %(number)s was cancelled") % about,
                _(
                    "Your order %(number)s of %(total)s was not paid in time, so it was cancelled. If you have paid all"
                    " the same, you receive another mail: either the order is paid after all, or your money goes back."
                )
                % about,
            )
        case "order.refunded":
            about["amount"] = f"¥{data['amount']}"
            return (
                _("%(amount)s of your order %(number)s goes back to you") % about,
                _("We have refunded %(amount)s of your order %(number)s, to the account that you paid from.") % about,
            )
        case "order.expiring":
            about["by"] = f"{datetime.fromisoformat(data['pay_by']).astimezone(UTC):%Y-%m-%d %H:%M}"
            return (
                _("Your order %(number)s waits for your payment") % about,
                _(
                    "Your order %(number)s of %(total)s is not paid yet. We keep it for you until %(by)s UTC; after "
                    "that it is cancelled."
                )
                % about,
            )
    raise ValueError(f"there is no mail about {kind}")
