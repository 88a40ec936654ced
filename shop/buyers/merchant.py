"""The merchant's own account."""

from django.contrib.auth.models import User

from shop.buyers.signing_up import normal


def ensure_merchant(email: str, password: str) -> User:
    """Make the account of the merchant, or give it this password if it has another."""
    user, _ = User.objects.get_or_create(username=normal(email), defaults={"email": normal(email)})
    if not (user.is_staff and user.is_active and user.check_password(password)):
        user.is_staff = user.is_active = True
        user.set_password(password)
        user.save()
    return user
