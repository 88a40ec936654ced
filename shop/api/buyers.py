"""Signing up, tokens, and the user to whom the token of a request belongs."""

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from ninja import Router, Schema, Status
from ninja.errors import HttpError
from ninja.security import HttpBearer
from pydantic import Field, SecretStr

from shop.api.problems import Problem, problem
from shop.buyers.accounts import EmailTaken, sign_in, sign_up
from shop.buyers.models import ApiToken
from shop.console.permissions import VIEW_STATISTICS
from shop.limits import count_sign_in, count_sign_up

router = Router(tags=["buyers"])


class BuyerToken(HttpBearer):
    """Admits requests with a token that belongs to an active user."""

    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        """Return the token's user, or None."""
        del request
        return ApiToken.owner(token)


class MerchantToken(BuyerToken):
    """Admits staff who may see the statistics, as the console does. Other users get a 403."""

    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        """Return the token's user, or None."""
        user = super().authenticate(request, token)
        if user is not None and not (user.is_staff and user.has_perm(VIEW_STATISTICS)):
            raise HttpError(403, "Only the merchant has access.")
        return user


def caller(request: HttpRequest) -> User:
    """Return the user whom BuyerToken admitted."""
    user = getattr(request, "auth", None)
    if not isinstance(user, User):
        raise TypeError("this route has no BuyerToken")
    return user


class Credentials(Schema):
    """An e-mail address and its password."""

    email: str = Field(max_length=254)
    password: SecretStr = Field(max_length=1024)


class Token(Schema):
    """A token, shown only this once: send it as `Authorization: Bearer <token>`."""

    email: str
    token: str


@router.post("/buyers", response={201: Token, 409: Problem, 422: Problem, 429: Problem}, summary="Sign up")
def create_buyer(request: HttpRequest, credentials: Credentials) -> Status[Token] | HttpResponse:
    """Sign up with an e-mail address and return a token."""
    count_sign_up(request)
    try:
        user = sign_up(credentials.email, credentials.password.get_secret_value())
    except EmailTaken:
        return problem(409, "An account with this address already exists.", code="email-taken")
    except ValidationError as error:
        found = error.message_dict
        detail = "; ".join(f"{name}: {' '.join(messages)}" for name, messages in found.items())
        errors = [{"where": ["body", name], "message": " ".join(messages)} for name, messages in found.items()]
        return problem(422, detail, code="invalid", details={"errors": errors})
    return Status(201, Token(email=user.email, token=ApiToken.issue(user)))


@router.post("/tokens", response={201: Token, 401: Problem, 422: Problem, 429: Problem}, summary="Get another token")
def create_token(request: HttpRequest, credentials: Credentials) -> Status[Token] | HttpResponse:
    """Return a token for an address that has signed up."""
    count_sign_in(request, credentials.email)
    user = sign_in(credentials.email, credentials.password.get_secret_value())
    if user is None:
        return problem(401, "The address or the password is wrong.", code="unauthenticated")
    return Status(201, Token(email=user.email, token=ApiToken.issue(user)))
