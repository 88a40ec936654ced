"""The first article's shop, as it has it: `python django_article.py REDIS_URL DATABASE PORT SECONDS`.

The view that makes the payment link also does SETEX under `nick_<out_trade_no>`; another cancels. Neither knows
anything of Lapse.
"""

import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
import redis
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection, models
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

REDIS_URL, DATABASE, PORT, SECONDS = sys.argv[1:]

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1"],
    SECRET_KEY="of a test",
    USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE, "OPTIONS": {"timeout": 60}}},
)
django.setup()
redis_conn = redis.Redis.from_url(REDIS_URL)


class Order(models.Model):
    """An order, which is unpaid until something else is known."""

    out_trade_no = models.CharField(max_length=64, unique=True)
    status = models.CharField(max_length=20, default="unpaid")
    times_cancelled = models.IntegerField(default=0)

    objects: models.Manager["Order"] = models.Manager()

    class Meta:
        """It stands alone, in no app."""

        app_label = "article"

    def __str__(self) -> str:
        """Name the order."""
        return self.out_trade_no


@csrf_exempt
def pay(request: HttpRequest) -> HttpResponse:
    """Make the payment link, and let the order's time begin."""
    order = Order.objects.create(out_trade_no=request.POST["out_trade_no"])
    redis_conn.setex(f"nick_{order.out_trade_no}", int(SECONDS), order.pk)
    return JsonResponse({"pay_url": f"https://openapi.alipay.com/gateway.do?out_trade_no={order.out_trade_no}"})


@csrf_exempt
def paid(request: HttpRequest) -> HttpResponse:
    """Take the gateway's word that the order is paid. The key stays, as it does in the article."""
    Order.objects.filter(out_trade_no=request.POST["out_trade_no"]).update(status="paid")
    return HttpResponse("success")


@csrf_exempt
def cancel_order(request: HttpRequest) -> HttpResponse:
    """Cancel an order whose time is over: a wrong method, a missing parameter, an unknown order, or done."""
    if request.method != "POST":
        return JsonResponse({"code": 1, "message": "wrong method"}, status=405)
    import json  # noqa: PLC0415 - as the article has it

    order_id = json.loads(request.body).get("order_id")
    if not order_id:
        return JsonResponse({"code": 2, "message": "order_id is missing"}, status=400)
    if not Order.objects.filter(out_trade_no=order_id).exists():
        return JsonResponse({"code": 3, "message": "there is no such order"}, status=404)
    Order.objects.filter(out_trade_no=order_id, status="unpaid").update(
        status="cancelled", times_cancelled=models.F("times_cancelled") + 1
    )
    return JsonResponse({"code": 0, "message": "done"})


def orders(_: HttpRequest) -> HttpResponse:
    """Show what became of each order."""
    found = Order.objects.values_list("out_trade_no", "status", "times_cancelled")
    return JsonResponse({number: [status, times] for number, status, times in found})


urlpatterns = [
    path("payment/pay/", pay),
    path("payment/paid/", paid),
    path("payment/cancel_order/", cancel_order),
    path("orders/", orders),
]


class Server(ThreadingMixIn, WSGIServer):
    """Serves several requests at once."""

    daemon_threads = True


class Quiet(WSGIRequestHandler):
    """Writes no line for each request."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


if __name__ == "__main__":
    with connection.schema_editor() as editor:
        editor.create_model(Order)
    make_server("127.0.0.1", int(PORT), get_wsgi_application(), Server, Quiet).serve_forever()
