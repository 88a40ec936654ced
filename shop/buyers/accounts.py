"""Accounts with an e-mail address, whose case does not matter: signing up and signing in."""

from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import MinimumLengthValidator, validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

LONGEST_EMAIL = 150


class EmailTaken(Exception):
    """An account with this address already exists."""


class LongEnough(MinimumLengthValidator):
    """Django's own rule for passwords. Its message has no Chinese translation in Django."""

    def get_error_message(self) -> str:
        """Return the rule in the visitor's language."""
        return _("A password has at least %d characters.") % self.min_length


def normal(email: str) -> str:
    """Return the one spelling under which an address is stored."""
    return email.strip().lower()


def sign_up(email: str, password: str) -> User:
    """Create a buyer's account and return it. Raises ValidationError (keys `email`, `password`) or EmailTaken."""
    email = normal(email)
    problems: dict[str, list[str]] = {}
    try:
        validate_email(email)
    except ValidationError as error:
        problems["email"] = error.messages
    if len(email) > LONGEST_EMAIL:
        problems["email"] = [_("An address may have %d characters at most.") % LONGEST_EMAIL]
    try:
        validate_password(password, User(username=email, email=email))
    except ValidationError as error:
        problems["password"] = error.messages
    if problems:
        raise ValidationError(problems)
    try:
        with transaction.atomic():
            return User.objects.create_user(username=email, email=email, password=password)
    except IntegrityError as error:
        raise EmailTaken(email) from error


def sign_in(email: str, password: str) -> User | None:
    """Return the user with this address and password, or None."""
    email = normal(email)
    user = authenticate(username=email, password=password) if email.isprintable() else None
    return user if isinstance(user, User) else None
