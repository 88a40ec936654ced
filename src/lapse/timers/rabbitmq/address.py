"""The address of a RabbitMQ broker, parsed from a URL."""

import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

import pika

from lapse.engine.errors import ConfigError
from lapse.engine.url import Form
from lapse.engine.url_values import FILE, TEXT, Kind, Option, whole

HEARTBEAT = 10
"""Seconds; as long as a lease. A broker that receives nothing for two heartbeats closes the connection.

It then gives the connection's unacknowledged messages to other consumers.
"""

ANSWER_WITHIN = 5.0
"""Seconds without an answer after which the broker counts as unavailable."""


def _api_address(text: str) -> str | None:
    """Return the address of the management API, or None if it cannot be one. The account is the broker's own."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port  # reading the port checks it
    except ValueError:
        return None
    unfit = parts.username or parts.query or parts.fragment or parts.scheme not in {"http", "https"}
    return None if unfit or not host else text.rstrip("/")


_OPTIONS = {
    "heartbeat": Option(
        whole(1, 60),
        "seconds without traffic after which broker and client close the connection; closing takes up to twice as long",
        HEARTBEAT,
    ),
    "management": Option(
        Kind("the management API's address without an account, as http://localhost:15672", _api_address),
        "the address of the management plugin's API, where `lapse check` reads the policies that apply to the timer's "
        "queues, with the URL's account",
        unless_set="`http://<host>:15672`, or by TLS `https://<host>:15671`",
    ),
}
_CAFILE = {"cafile": Option(FILE, "a file with the certificates that are trusted, in PEM", unless_set="the system's")}

FORMS = {
    scheme: Form(
        example=f"{scheme}://user:password@localhost:{port}/vhost",
        path={"vhost": Option(TEXT, "the virtual host; a '/' in its name is written %2F", "/")},
        options=_OPTIONS | own,
        instead=instead,
    )
    for scheme, port, own, instead in (
        ("amqp", 5672, {}, {"cafile": "TLS has its own scheme, amqps://"}),
        ("amqps", 5671, _CAFILE, {}),
    )
}
"""Scheme → what its URLs understand."""


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a broker. `parameters` are pika's, and contain the password.

    `management` is the URL of the management plugin's API, which only `lapse check` uses. `tls` is for both addresses.
    """

    parameters: pika.ConnectionParameters
    management: str
    tls: ssl.SSLContext

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Return the address in amqp[s]://user:password@host:port/vhost?heartbeat=10&cafile=…&management=….

        Raises ConfigError.
        """
        read = FORMS[url.partition(":")[0].lower()].read(url)
        ((host, port),) = read.hosts
        secure = read.scheme == "amqps"
        tls = _tls_context(read.options.get("cafile"))
        in_url = f"[{host}]" if ":" in host else host
        return cls(
            management=read.options.get("management")
            or (f"https://{in_url}:15671" if secure else f"http://{in_url}:15672"),
            tls=tls,
            parameters=pika.ConnectionParameters(
                host=host,
                port=port or (5671 if secure else 5672),
                virtual_host=read.options["vhost"],
                credentials=pika.PlainCredentials(read.user or "guest", read.password or "guest"),
                heartbeat=read.options["heartbeat"],
                socket_timeout=ANSWER_WITHIN,
                stack_timeout=ANSWER_WITHIN + 1,
                connection_attempts=1,
                ssl_options=pika.SSLOptions(tls, host) if secure else None,
                client_properties={"connection_name": "lapse"},
            ),
        )

    @property
    def where(self) -> str:
        """Host and port, for messages: without user and password."""
        return f"{self.parameters.host}:{self.parameters.port}"


def _tls_context(cafile: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=cafile)
    except OSError as error:
        why = "it has no PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(
            f"cafile= in the amqps:// URL names no file with PEM certificates, {cafile!r}: {why}"
        ) from None
