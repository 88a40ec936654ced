"""The web server's entry: `uvicorn --no-proxy-headers shop.asgi:application`.

Without that option uvicorn believes the X-Forwarded-For of whoever connects from this machine, a proxy that passes on
what visitors send among them; here TRUSTED_PROXIES alone says how far that header counts.
"""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
# Each request has a thread of its own, so connections are pooled and not kept per thread.
os.environ.setdefault("DATABASE_POOL", "1")

django.setup(set_prefix=False)

from shop.live.serving import StreamingHandler  # noqa: E402 - needs the settings and the apps

application = StreamingHandler()
