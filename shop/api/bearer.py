"""Who calls: the user to whom the token in the Authorization header belongs."""

from django.contrib.auth.models import User
from django.http import HttpRequest
from ninja.errors import HttpError
from ninja.security import HttpBearer

from shop.buyers.tokens import bearer_of
from shop.console.merchants import VIEW_FIGURES


class BuyerToken(HttpBearer):
    """Lets in whoever sends a token that belongs to an active user."""

    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        """Give the token's user, or None."""
        del request
        return bearer_of(token)


class MerchantToken(BuyerToken):
    """Lets in staff who may see the figures, as the console does; raises a 403 for other users."""

    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        """Give the token's user, or None."""
        user = super().authenticate(request, token)
        if user is not None and not (user.is_staff and user.has_perm(VIEW_FIGURES)):
            raise HttpError(403, "This is for the merchant.")
        return user


def caller(request: HttpRequest) -> User:
    """Give the user whom BuyerToken let in."""
    user = getattr(request, "auth", None)
    if not isinstance(user, User):
        raise TypeError("this route has no BuyerToken")
    return user
