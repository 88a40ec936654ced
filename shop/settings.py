"""Django's settings of the shop, all from the environment.

DATABASE_URL            PostgreSQL; a Unix socket as postgresql://user@/name?host=/folder.
DATABASE_POOL           1: connections are pooled; the web server sets it.
DATABASE_POOL_SIZE      The greatest number of pooled connections (20).
SECRET_KEY              Required unless DEBUG=1.
DEBUG                   1 on your own machine only.
ALLOWED_HOSTS           Host names, separated by commas. localhost is always allowed.
HTTPS                   1 behind TLS: secure cookies, redirects, and HSTS for a year with all subdomains and preload.
                        HSTS is hard to take back: be sure that all subdomains have TLS. Trusts X-Forwarded-Proto.
TRUSTED_PROXIES         How many proxies before the shop add to X-Forwarded-For (0: the header is ignored).
RATE_LIMITS             on, or off. off is refused if ALLOWED_HOSTS or HTTPS show that the shop is public.
CACHE_URL               redis://… where all web processes count attempts together.
                        Without it REDIS_URL is used; without both, each process counts by itself.
LAPSE_TIMER             The timer's URL. Empty or "none": the sweep alone cancels orders.
LAPSE_PAYMENT_WINDOW    Seconds within which an order must be paid (1800).
LAPSE_PAYMENT_WINDOWS   Other windows by payment method, such as alipay=30m,development=90s. A window in which no order
                        can be paid is refused: see LEAST_TIME_TO_PAY.
LAPSE_LONGEST_WINDOW    Seconds that a request may ask for as the window of its order (the usual window).
LAPSE_REMIND            Seconds before the deadline at which order.expiring is announced (0: never).
LAPSE_GRACE             Seconds after its deadline for which an unpaid order is kept: a payment still counts (0).
LAPSE_OPEN_ORDERS       The greatest number of unpaid orders of one buyer (20).
LAPSE_HELD_PIECES       The greatest number of pieces in the unpaid orders of one buyer (60).
LAPSE_HELD_OF_PRODUCT   The greatest number of pieces of one product there (20).
LAPSE_HELD_SHARE        The greatest share of a product's stock there, in percent; never fewer than 5 pieces (50).
LAPSE_PAUSE_AFTER       After so many orders that lapsed, their buyer must wait to order again (5). 0: never.
LAPSE_PAUSE_WITHIN      Seconds for which an order that lapsed counts (604800). A payment forgives all before it.
LAPSE_PAUSE_MOST        The longest wait, in seconds (86400). The first is the window to pay, and each next doubles it.
CONSOLE_LATE_AFTER      Seconds overdue after which the console shows an alarm for an order (5).
LAPSE_WEBHOOK_SECRET    whsec_… for POST /payment/cancel_order/. Unset: every call is refused.
WEBHOOK_URLS            Addresses that receive signed messages about orders, separated by commas.
WEBHOOK_SECRETS         whsec_… for these; two, separated by a space, while a new one replaces an old one.
MAIL_SERVER             smtp://user:password@host:587, or smtps://, or console: each mail is printed. Unset: no mails.
MAIL_FROM               The sender of the mails, such as "Kiln & Leaf <shop@shop.example>".
SHOP_GATEWAY            alipay; or development: a button that pays at once, for your own machine only.
PUBLIC_URL              Where buyers and Alipay reach the shop, such as https://shop.example. Required for payments.
ALIPAY_APP_ID           The app's number at Alipay.
ALIPAY_SELLER_ID        The seller's number, 2088…. Messages for another seller are refused.
ALIPAY_PRIVATE_KEY      The app's private key, PEM or base64; or ALIPAY_PRIVATE_KEY_FILE, a file with it. So for all
                        keys and certificates below.
ALIPAY_PUBLIC_KEY       Alipay's public key for this app. Or, in the mode of certificates, which Alipay recommends:
ALIPAY_APP_CERTIFICATE  the app's certificate, appCertPublicKey_….crt,
ALIPAY_CERTIFICATE      Alipay's, alipayCertPublicKey_RSA2.crt,
ALIPAY_ROOT_CERTIFICATES  and Alipay's roots, alipayRootCert.crt.
ALIPAY_GATEWAY_URL      Alipay's address (https://openapi.alipay.com/gateway.do).
LEAST_TIME_TO_PAY       Seconds. With less time left, buyers are no longer sent to pay (5).
LOG_LEVEL               INFO unless set.
"""

import os
from datetime import timedelta
from pathlib import Path

from shop import environment
from shop.logs import logging_settings
from shop.payments import alipay

BASE_DIR = Path(__file__).resolve().parent

DEBUG = environment.flag("DEBUG")
SECRET_KEY = environment.secret_key(debug=DEBUG)
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", *environment.names("ALLOWED_HOSTS")]

INSTALLED_APPS = [
    "shop.console.apps.ShopAdmin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "ninja",
    "lapse.integrations.django",
    "lapse.integrations.django.outbox",
    "shop.catalogue",
    "shop.buyers",
    "shop.orders",
    "shop.payments",
    "shop.statistics",
    "shop.live",
    "shop.pages",
    "shop.console",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "shop.middleware.ContentSecurityPolicy",
    "shop.middleware.StaticFiles",
    "shop.api.problems.ProblemDocuments",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "shop.pages.errors.ErrorPages",
]
ROOT_URLCONF = "shop.urls"
ASGI_APPLICATION = "shop.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.i18n",
                "shop.pages.cart.header",
            ]
        },
    }
]

DATABASES = {"default": environment.database(pooled=environment.flag("DATABASE_POOL"))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "shop.buyers.accounts.LongEnough"},
    *(
        {"NAME": f"django.contrib.auth.password_validation.{name}"}
        for name in (
            "UserAttributeSimilarityValidator",
            "CommonPasswordValidator",
            "NumericPasswordValidator",
        )
    ),
]
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "products"
LOGOUT_REDIRECT_URL = "products"

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
LOCALE_PATHS = [BASE_DIR / "locale"]
LANGUAGE_COOKIE_AGE = 31_536_000
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "static/"
# Files are found in the packages when the server starts, so collectstatic is not needed.
WHITENOISE_USE_FINDERS = True

SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "shop.pages.errors.csrf_failure"
X_FRAME_OPTIONS = "DENY"
if environment.flag("HTTPS"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    LANGUAGE_COOKIE_SECURE = True

RATE_LIMITS = environment.rate_limits("RATE_LIMITS")
TRUSTED_PROXIES = environment.whole("TRUSTED_PROXIES", 0, least=0)
CACHES = {"default": environment.cache("CACHE_URL", "REDIS_URL")}

LOGGING = logging_settings(os.environ.get("LOG_LEVEL", "").upper() or "INFO")

LAPSE_ORDERS = "shop.lapsing.ShopOrders"
LAPSE_HOOKS = ["shop.console.heartbeat.Heartbeat"]
LAPSE_TIMER = os.environ.get("LAPSE_TIMER", "").strip() or None
LAPSE_PAYMENT_WINDOW = timedelta(seconds=environment.seconds("LAPSE_PAYMENT_WINDOW", 1800, longest=366 * 86_400))
LAPSE_PAYMENT_WINDOWS = environment.payment_windows("LAPSE_PAYMENT_WINDOWS")
_longest = environment.seconds("LAPSE_LONGEST_WINDOW", 0, longest=366 * 86_400, may_be_zero=True)
LAPSE_LONGEST_WINDOW = timedelta(seconds=_longest) if _longest else None
_remind = environment.seconds("LAPSE_REMIND", 0, longest=366 * 86_400, may_be_zero=True)
LAPSE_REMIND = timedelta(seconds=_remind) if _remind else None
LAPSE_GRACE = timedelta(seconds=environment.seconds("LAPSE_GRACE", 0, longest=86_400, may_be_zero=True))
CONSOLE_LATE_AFTER = timedelta(seconds=environment.seconds("CONSOLE_LATE_AFTER", 5, longest=86_400))
LAPSE_OPEN_ORDERS = environment.whole("LAPSE_OPEN_ORDERS", 20)
LAPSE_HELD_PIECES = environment.whole("LAPSE_HELD_PIECES", 60)
LAPSE_HELD_OF_PRODUCT = environment.whole("LAPSE_HELD_OF_PRODUCT", 20)
LAPSE_HELD_SHARE = environment.whole("LAPSE_HELD_SHARE", 50, most=100)
LAPSE_PAUSE_AFTER = environment.whole("LAPSE_PAUSE_AFTER", 5, least=0)
_within = environment.seconds("LAPSE_PAUSE_WITHIN", 604_800, longest=366 * 86_400)
LAPSE_PAUSE_WITHIN = timedelta(seconds=_within)
LAPSE_PAUSE_MOST = timedelta(seconds=environment.seconds("LAPSE_PAUSE_MOST", min(86_400, _within), longest=_within))
LAPSE_WEBHOOK_SECRET = environment.webhook_secret("LAPSE_WEBHOOK_SECRET")

PUBLIC_URL = os.environ.get("PUBLIC_URL", "").strip().rstrip("/")
globals().update(environment.mail_settings("MAIL_SERVER"))
DEFAULT_FROM_EMAIL = os.environ.get("MAIL_FROM", "").strip() or "Kiln & Leaf <shop@localhost>"
LAPSE_OUTBOX = environment.outbox(
    mails="shop.mails.mail", types=["order.paid", "order.lapsed", "order.refunded", "order.expiring"]
)

SHOP_GATEWAY = environment.gateway("SHOP_GATEWAY")
ALIPAY = alipay.read_environment(os.environ)
LEAST_TIME_TO_PAY = timedelta(seconds=environment.seconds("LEAST_TIME_TO_PAY", 5, longest=86_400))
environment.long_enough(
    "LAPSE_PAYMENT_WINDOWS" if SHOP_GATEWAY in LAPSE_PAYMENT_WINDOWS else "LAPSE_PAYMENT_WINDOW",
    LAPSE_PAYMENT_WINDOWS.get(SHOP_GATEWAY, LAPSE_PAYMENT_WINDOW),
    SHOP_GATEWAY,
    LEAST_TIME_TO_PAY,
)
PAYMENT_ORIGINS = [alipay.origin(ALIPAY["gateway_url"])] if SHOP_GATEWAY == "alipay" else []
