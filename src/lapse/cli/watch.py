"""`lapse watch`: POSTs each order whose key in Redis has expired. It replaces a script that listens to events."""

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
        help="The Redis that has the keys, like redis://localhost:6379/0. Put a URL with a password into LAPSE_TIMER.",
        show_default=False,
    ),
]
Prefix = Annotated[
    str, typer.Option(metavar="TEXT", help="The beginning of the keys' names; the order's id follows it.")
]


def watch(
    url: Url,
    *,
    prefix: Prefix,
    post: Annotated[str, typer.Option(metavar="ADDRESS", help="The address to POST each expired order to.")],
    ids: Annotated[
        str,
        typer.Option(
            "--id",
            metavar="REGEX",
            help="The pattern of an order's id, such as '\\d+'. Keys whose id does not match it as a whole, such as "
            "helper keys, are left out. Give every watcher of a prefix the same pattern.",
        ),
    ] = DEFAULTS.ids,
    body: Annotated[
        str, typer.Option(metavar="JSON", help="The body to POST; the order's id replaces {key} in a string.")
    ] = DEFAULTS.body,
    accept: Annotated[
        str,
        typer.Option(
            metavar="FIELD=VALUE",
            help="The field of a 2xx answer's JSON that must have this value, or one of several, like code=0,200.",
            show_default=False,
        ),
    ] = DEFAULTS.accept,
    secret_file: Annotated[
        Path | None,
        typer.Option(
            envvar="LAPSE_WEBHOOK_SECRET_FILE",
            help="A file with the secret for signing, instead of LAPSE_WEBHOOK_SECRET.",
        ),
    ] = None,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="Do not sign; needs no secret.")] = False,
    insecure_http: Annotated[
        bool, typer.Option("--insecure-http", help="Permit http:// to other machines, on a network that you control.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds for one delivery, from its beginning to the end of the answer.")
    ] = DEFAULTS.timeout,
    concurrency: Annotated[
        int, typer.Option(min=1, max=1000, help="The largest number of deliveries at once.")
    ] = DEFAULTS.concurrency,
    attempts: Annotated[
        int, typer.Option(min=1, help="Tries before an order is buried; 20 tries take about an hour and a half.")
    ] = DEFAULTS.attempts,
    drain: Annotated[
        float, typer.Option(min=0, help="Seconds to finish running deliveries after a signal to stop.")
    ] = DEFAULTS.drain.total_seconds(),
    json: Json = False,
) -> None:
    """Watch keys that expire, and POST each expired order. The shop goes on using SETEX.

    It replaces a script that subscribes to `__keyevent@0__:expired`. You may run any number of watchers: only one
    delivers each order. If an order expires while no watcher runs, the next watcher delivers it.

    2xx and 409 settle an order. 404 and 410 do so too, once the address has accepted a call, or if they answer JSON.
    After any other answer, or none, the delivery is tried again, with longer waits. After the last attempt the order
    is buried. The shop must check that the order is unpaid before it cancels it.

    If the shop answers 200 also when it failed, --accept names the field of its JSON that says so, like --accept
    code=0. Any other 2xx is then tried again.

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
        ids=ids,
        body=body,
        accept=accept,
        secret_file=secret_file,
        unsigned=unsigned,
        insecure_http=insecure_http,
        timeout=timeout,
        concurrency=concurrency,
        attempts=attempts,
        drain=timedelta(seconds=drain),
    )
    run_watch(options, hook)
