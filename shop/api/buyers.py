"""Signing up, and tokens."""

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from ninja import Router, Schema, Status
from pydantic import Field, SecretStr

from shop.api.problems import Problem, problem
from shop.buyers.signing_up import EmailTaken, sign_in, sign_up
from shop.buyers.tokens import new_token
from shop.limits import count_sign_in, count_sign_up

router = Router(tags=["buyers"])


class Credentials(Schema):
    """An e-mail address and its password."""

    email: str = Field(max_length=254)
    password: SecretStr = Field(max_length=1024)


class Token(Schema):
    """A token, shown this once: send it as `Authorization: Bearer <token>`."""

    email: str
    token: str


@router.post("/buyers", response={201: Token, 409: Problem, 422: Problem, 429: Problem}, summary="Sign up")
def create_buyer(request: HttpRequest, credentials: Credentials) -> Status[Token] | HttpResponse:
    """Sign up with an e-mail address and get a token."""
    count_sign_up(request)
    try:
        user = sign_up(credentials.email, credentials.password.get_secret_value())
    except EmailTaken:
        return problem(409, "Somebody has signed up with this address before.", code="email-taken")
    except ValidationError as error:
        found = error.message_dict
        detail = "; ".join(f"{name}: {' '.join(messages)}" for name, messages in found.items())
        errors = [{"where": ["body", name], "message": " ".join(messages)} for name, messages in found.items()]
        return problem(422, detail, code="invalid", details={"errors": errors})
    return Status(201, Token(email=user.email, token=new_token(user)))


@router.post("/tokens", response={201: Token, 401: Problem, 422: Problem, 429: Problem}, summary="Get another token")
def create_token(request: HttpRequest, credentials: Credentials) -> Status[Token] | HttpResponse:
    """Get a token for an address that has signed up."""
    count_sign_in(request, credentials.email)
    user = sign_in(credentials.email, credentials.password.get_secret_value())
    if user is None:
        return problem(401, "The address or the password is wrong.", code="unauthenticated")
    return Status(201, Token(email=user.email, token=new_token(user)))
