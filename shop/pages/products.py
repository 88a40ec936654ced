"""The products, with the form that orders them."""

from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from shop.catalogue.listing import on_sale
from shop.orders.models import new_public_id


@require_safe
def shelf(request: HttpRequest) -> HttpResponse:
    """Show every product with what is available."""
    return show_shelf(request)


def show_shelf(request: HttpRequest, *, refusal: str = "", status: int = HTTPStatus.OK) -> HttpResponse:
    """Show the products, with a refusal on top if there is one. The form can be sent once: its key says which it is."""
    context = {"products": on_sale(), "form_key": new_public_id(), "refusal": refusal}
    return render(request, "shop/products.html", context, status=status)
