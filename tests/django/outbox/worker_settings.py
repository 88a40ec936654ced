"""Django settings of a process that only delivers: the database and the address are in its environment."""

import json
import os

SECRET_KEY = "for tests only"
INSTALLED_APPS = ["lapse.integrations.django.outbox"]
DATABASES = {"default": json.loads(os.environ["OUTBOX_DATABASE"])}
USE_TZ = True
LAPSE_OUTBOX = json.loads(os.environ["OUTBOX_SETTING"])
