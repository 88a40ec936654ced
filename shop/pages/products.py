"""The shelf, and each product by itself."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from shop.catalogue.listing import on_sale


@require_safe
def shelf(request: HttpRequest) -> HttpResponse:
    """Show every product with what is available."""
    return render(request, "shop/products.html", {"products": on_sale()})


@require_safe
def product_page(request: HttpRequest, sku: str) -> HttpResponse:
    """Show one product, and some of the others."""
    products = on_sale()
    for place, product in enumerate(products):
        if product.sku == sku:
            others = (products[place + 1 :] + products[:place])[:3]
            return render(request, "shop/product.html", {"product": product, "others": others})
    raise Http404
