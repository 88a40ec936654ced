"""PostgreSQL URLs, and connections to the databases that they name."""

import re

import psycopg
from psycopg.conninfo import make_conninfo

from lapse.engine.url import Form
from lapse.engine.url_values import FILE, SECRET, TEXT, Kind, Option, choice, whole

DEFAULTS = {
    "connect_timeout": "5",
    "application_name": "lapse",
    "client_encoding": "UTF8",
    "target_session_attrs": "read-write",
    # A server that vanished without closing the connection counts as unavailable after about ten seconds.
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""Connection parameters that the URL does not set."""

SESSION = b"""
SET lock_timeout = '5s'; SET statement_timeout = '30s'; SET default_transaction_isolation = 'read committed'
"""
"""Settings of each session.

An order's transaction may arm and then stay idle. The timeouts keep it from blocking the workers' leases for long.
"""

_SECRETS = {"password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret"}
_KINDS = {
    "channel_binding": choice("disable", "prefer", "require"),
    "connect_timeout": whole(1, 3600),
    "gssencmode": choice("disable", "prefer", "require"),
    "keepalives": whole(0, 1),
    "keepalives_count": whole(1, 1000),
    "keepalives_idle": whole(1, 86_400),
    "keepalives_interval": whole(1, 86_400),
    "port": Kind(
        "a port, or several with commas", lambda text: text if re.fullmatch(r"\d{1,5}(,\d{0,5})*", text) else None
    ),
    "load_balance_hosts": choice("disable", "random"),
    "sslcert": FILE,
    "sslkey": FILE,
    "sslmode": choice("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslrootcert": FILE,
    "ssl_max_protocol_version": choice("TLSv1.2", "TLSv1.3"),
    "ssl_min_protocol_version": choice("TLSv1.2", "TLSv1.3"),
    "target_session_attrs": choice("any", "primary", "read-write"),
    "tcp_user_timeout": whole(0, 86_400_000),
}
"""The kinds of libpq's parameters that libpq itself would only refuse when it connects. The others are texts."""


def _kind(name: str) -> Kind:
    return SECRET if name in _SECRETS else _KINDS.get(name, TEXT)


_PARAMETERS = {
    parameter.keyword.decode(): Option(
        _kind(parameter.keyword.decode()), "a parameter of libpq", DEFAULTS.get(parameter.keyword.decode())
    )
    for parameter in psycopg.pq.Conninfo.get_defaults()
}
"""The parameters of the installed libpq."""

FORMS = {
    scheme: Form(
        example=f"{scheme}://user:password@localhost:5432/database",
        hosts=(0, 100),
        sockets=True,
        path={"dbname": Option(TEXT, "the database")},
        options=_PARAMETERS,
        instead={"ssl": "write sslmode=require", "database": "write the database after the address, as localhost/shop"},
    )
    for scheme in ("postgresql", "postgres", "apscheduler+postgresql", "apscheduler+postgres")
}
"""Scheme → what its URLs understand: what libpq's URLs do."""


def conninfo(url: str) -> str:
    """Return the connection string for a URL in libpq's form, with the defaults added. Raises ConfigError."""
    read = FORMS[url.partition(":")[0].lower()].read(url)
    settings = {name: str(value) for name, value in read.options.items()}
    parts = {
        "user": read.user,
        "password": read.password,
        "host": ",".join(host.name for host in read.hosts),
        "port": ",".join(str(host.port or "") for host in read.hosts) if any(host.port for host in read.hosts) else "",
    }
    return make_conninfo("", **settings, **{name: text for name, text in parts.items() if text})


def connect(address: str) -> psycopg.Connection:
    """Return a new connection that commits each statement by itself. Raises the driver's errors."""
    # No statement is prepared, so that a pooler may run each transaction on another server process.
    connection = psycopg.connect(address, autocommit=True, prepare_threshold=None)
    try:
        connection.execute(SESSION)
    except BaseException:
        connection.close()
        raise
    return connection
