"""The address of a RabbitMQ broker, parsed from a URL."""

import ssl
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

import pika

from lapse.engine.errors import ConfigError

HEARTBEAT = 10
"""Seconds; as long as a lease. A broker that receives nothing for two heartbeats closes the connection.

It then gives the connection's unacknowledged messages to other consumers.
"""

ANSWER_WITHIN = 5.0
"""Seconds without an answer after which the broker counts as unavailable."""

EXAMPLE = "amqp://user:password@localhost:5672/vhost"


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
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"not an AMQP URL: {error}; write it as {EXAMPLE}") from error
        if not parts.hostname:
            raise ConfigError(f"{parts.scheme}:// needs an address, such as {EXAMPLE}")
        if parts.fragment:
            raise ConfigError("an AMQP URL has no '#': write %23 if '#' is part of a password")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        heartbeat, cafile = options.pop("heartbeat", str(HEARTBEAT)), options.pop("cafile", None)
        management = options.pop("management", "")
        if options:
            raise ConfigError(
                f"an AMQP URL takes heartbeat=, cafile= and management=, not {', '.join(sorted(options))}"
            )
        if not heartbeat.isdecimal() or not 1 <= int(heartbeat) <= 60:  # noqa: PLR2004 - seconds, see the message
            raise ConfigError(f"heartbeat= in an AMQP URL is a whole number of seconds from 1 to 60; got {heartbeat!r}")
        path = parts.path.removeprefix("/")
        if "/" in path:
            raise ConfigError(
                f"the path of an AMQP URL is one virtual host, a '/' in its name written %2F; got {path!r}"
            )
        secure = parts.scheme == "amqps"
        tls = _tls_context(cafile)
        return cls(
            management=_management_url(management, parts.hostname, secure=secure),
            tls=tls,
            parameters=pika.ConnectionParameters(
                host=parts.hostname,
                port=port or (5671 if secure else 5672),
                virtual_host=unquote(path) or "/",
                credentials=pika.PlainCredentials(
                    unquote(parts.username or "guest"), unquote(parts.password or "guest")
                ),
                heartbeat=int(heartbeat),
                socket_timeout=ANSWER_WITHIN,
                stack_timeout=ANSWER_WITHIN + 1,
                connection_attempts=1,
                ssl_options=pika.SSLOptions(tls, parts.hostname) if secure else None,
                client_properties={"connection_name": "lapse"},
            ),
        )

    @property
    def where(self) -> str:
        """Host and port, for messages: without user and password."""
        return f"{self.parameters.host}:{self.parameters.port}"


def _management_url(given: str, host: str, *, secure: bool) -> str:
    """Return the URL of the management API: the given one, or the plugin's default port on the broker's host."""
    if not given:
        host = f"[{host}]" if ":" in host else host
        return f"https://{host}:15671" if secure else f"http://{host}:15672"
    try:
        parts = urlsplit(given)
        understood = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or True)
    except ValueError:
        understood = False
    # The account is the broker's own, so the message can repeat the option only if it contains no account.
    if not understood or "@" in given or parts.query or parts.fragment:
        raise ConfigError(
            "management= in an AMQP URL is the address of the management API, without an account, "
            "such as management=http://localhost:15672"
        )
    return given.rstrip("/")


def _tls_context(cafile: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=cafile)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cafile= in an AMQP URL names a file with PEM certificates; {cafile!r}: {error}") from error
