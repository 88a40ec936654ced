"""The token with which a program acts for a buyer: 32 random bytes, shown once, stored as a hash."""

import hashlib
import secrets

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.db.models.functions import Now


class ApiToken(models.Model):
    """One token of one user. Only its SHA-256 is stored, so a stolen table gives no access."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    sha256 = models.CharField(max_length=64, unique=True)
    made_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"token {self.pk} of user {self.user_id}"

    @classmethod
    def issue(cls, user: User) -> str:
        """Create a token for the user and return its text, which cannot be read again later."""
        token = secrets.token_urlsafe(32)
        cls.objects.create(user=user, sha256=_sha256(token))
        return token

    @classmethod
    def owner(cls, token: str) -> User | None:
        """Return the active user to whom this token belongs, or None."""
        found = cls.objects.select_related("user").filter(sha256=_sha256(token), user__is_active=True).first()
        return found.user if found else None


def _sha256(token: str) -> str:
    # A fast hash is enough: 256 random bits cannot be guessed.
    return hashlib.sha256(token.encode()).hexdigest()


def new_key() -> str:
    """Return a new key of a cart: 32 hexadecimal digits that cannot be guessed."""
    return secrets.token_hex(16)


class SavedCart(models.Model):
    """The cart of one account, on all its devices. It outlives the session."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True)
    lines = models.JSONField(default=dict)
    """SKU → [quantity, price seen]."""
    key = models.CharField(max_length=32, default=new_key)
    """The idempotency key of this cart's order. A cart that was ordered gets the next key."""

    def __str__(self) -> str:
        return f"cart of user {self.user_id}"
