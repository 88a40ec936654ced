"""The web server's entry point: `uvicorn --no-proxy-headers shop.asgi:application`.

Without that option uvicorn trusts the X-Forwarded-For of every client on this machine. Such a client may be a proxy
that passes on what visitors send. In the shop TRUSTED_PROXIES alone decides how far that header counts.
"""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
# Each request has a thread of its own, so connections are pooled instead of kept per thread.
os.environ.setdefault("DATABASE_POOL", "1")

django.setup(set_prefix=False)

from shop.live.serving import StreamingHandler  # noqa: E402 - needs the settings and the apps

application = StreamingHandler()
