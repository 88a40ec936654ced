"""The page for an address that does not exist."""

from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Say so, and show the way back."""
    del exception
    return render(request, "404.html", status=HTTPStatus.NOT_FOUND)
