"""API tokens: made from 32 random bytes, shown once, kept as a hash."""

import hashlib
import secrets

from django.contrib.auth.models import User

from shop.buyers.models import ApiToken


def new_token(user: User) -> str:
    """Make a token for the user. Nobody can read it again later."""
    token = secrets.token_urlsafe(32)
    ApiToken.objects.create(user=user, sha256=_sha256(token))
    return token


def bearer_of(token: str) -> User | None:
    """Give the active user to whom this token belongs, or None."""
    found = ApiToken.objects.select_related("user").filter(sha256=_sha256(token), user__is_active=True).first()
    return found.user if found else None


def _sha256(token: str) -> str:
    # A fast hash is enough: 256 random bits cannot be guessed.
    return hashlib.sha256(token.encode()).hexdigest()
