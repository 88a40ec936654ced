"""The web server's entry: `uvicorn shop.asgi:application`."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
# Each request has a thread of its own, so connections are pooled and not kept per thread.
os.environ.setdefault("DATABASE_POOL", "1")

application = get_asgi_application()
