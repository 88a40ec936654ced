"""`lapse watch`: POSTs each order whose key in Redis has expired, in the place of a script that listens."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from lapse.cli.arguments import VARIABLE, Json, warn_of_password
from lapse.cli.log import log_hook
from lapse.watch.options import DEFAULTS, WatchOptions

Url = Annotated[
    str,
    typer.Argument(
        envvar=VARIABLE,
        metavar="URL",
        help="The Redis that has the keys, as redis://localhost:6379/0; with a password, better in LAPSE_TIMER.",
        show_default=False,
    ),
]
Prefix = Annotated[
    str, typer.Option(metavar="TEXT", help="What the names of the keys begin with; the order's id follows it.")
]


def watch(
    url: Url,
    *,
    prefix: Prefix,
    post: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to POST each order whose time is over.")],
    body: Annotated[
        str, typer.Option(metavar="JSON", help="What to POST; {key} in a string of it becomes the order's id.")
    ] = DEFAULTS.body,
    secret_file: Annotated[
        Path | None,
        typer.Option(
            envvar="LAPSE_WEBHOOK_SECRET_FILE",
            help="A file with the secret that signs, instead of LAPSE_WEBHOOK_SECRET.",
        ),
    ] = None,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="Sign nothing, with no secret.")] = False,
    insecure_http: Annotated[
        bool, typer.Option("--insecure-http", help="Permit http:// to other machines, on a network of your own.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")] = DEFAULTS.timeout,
    concurrency: Annotated[
        int, typer.Option(min=1, max=1000, help="Deliveries under way at once, at most.")
    ] = DEFAULTS.concurrency,
    attempts: Annotated[
        int, typer.Option(min=1, help="Tries before one is buried; 20 take about an hour and a half.")
    ] = DEFAULTS.attempts,
    drain: Annotated[
        float, typer.Option(min=0, help="Seconds to finish in, once stopping.")
    ] = DEFAULTS.drain.total_seconds(),
    json: Json = False,
) -> None:
    """Watch keys that expire, and POST each order whose time is over. The shop goes on using SETEX.

    It replaces a script that subscribes to `__keyevent@0__:expired`. Run as many as you like: each order is delivered
    by one. Orders that expired while none was running are delivered by the next.

    2xx, 404, 409 and 410 settle an order. Any other answer, or none, is tried again, later each time, and buried after
    the last attempt. The shop must make sure itself that the order is unpaid, as it must with any such call.

    Each call is signed by the Standard Webhooks specification, with the secret in LAPSE_WEBHOOK_SECRET or in a file.

    [bold]Examples[/bold]

    lapse watch redis://localhost:6379/0 --prefix nick_ --post https://shop.example/payment/cancel_order/

    lapse watch redis://localhost:6379/0 --prefix client:user:info:order: --post http://localhost:3000/orders/expired
    --body '{"id": "{key}", "status": "cancel_payment"}'

    lapse check redis://localhost:6379/0 --prefix nick_

    lapse buried list redis://localhost:6379/0 --prefix nick_
    """
    from lapse.watch.run import run_watch  # noqa: PLC0415 - what it needs is an extra

    hook = log_hook(json=json)
    warn_of_password(url)
    options = WatchOptions(
        url=url,
        prefix=prefix,
        post=post,
        body=body,
        secret_file=secret_file,
        unsigned=unsigned,
        insecure_http=insecure_http,
        timeout=timeout,
        concurrency=concurrency,
        attempts=attempts,
        drain=timedelta(seconds=drain),
    )
    run_watch(options, hook)
