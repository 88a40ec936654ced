"""What a password must be, said in the visitor's language."""

from django.contrib.auth.password_validation import MinimumLengthValidator
from django.utils.translation import gettext as _


class LongEnough(MinimumLengthValidator):
    """Django's own rule; its message has no Chinese translation there."""

    def get_error_message(self) -> str:
        """Say the rule."""
        return _("A password has at least %d characters.") % self.min_length
