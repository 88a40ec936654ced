"""The key pairs of the shop and of Alipay in every test: a new pair takes 0.2 seconds of computing."""

from functools import cache

from lapse.testing.alipay import Authority, new_key_pair

APP, ALIPAY = new_key_pair(), new_key_pair()


@cache
def authority() -> Authority:
    """Return the authority that issues certificates for both sides."""
    return Authority()
