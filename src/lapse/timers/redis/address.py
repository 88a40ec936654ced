"""Redis URLs: a single server by TCP, TLS or a Unix socket, a master that Sentinels name, or a cluster."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

from lapse.engine.errors import ConfigError
from lapse.engine.url import Form, Url
from lapse.engine.url_values import FILE, SECONDS, SECRET, SWITCH, TEXT, Option, choice, whole
from lapse.timers.redis.client import ANSWER_WITHIN, Client
from lapse.timers.redis.errors import translated
from lapse.timers.redis.sentinels import master_of
from lapse.timers.redis.shards import MOST_SHARDS

_DATABASE = Option(whole(0, 2**31 - 1), "the number of the database", 0)
_SHARDS = {
    "shards": Option(
        whole(1, MOST_SHARDS),
        "over how many hash slots the timer is spread. Every process must use the same number, which is checked",
        1,
    )
}
_PREFIX = {
    "prefix": Option(
        TEXT, "the beginning of the expiring keys' names; the order's key follows", unless_set="`lapse:<name>:`"
    )
}
_CONNECTION = {
    "client_name": Option(TEXT, "the connections' name in `CLIENT LIST`, without blanks"),
    "protocol": Option(
        choice("2", "3"), "the version of Redis's protocol: 2 for a proxy that does not know HELLO", "3"
    ),
    "socket_connect_timeout": Option(
        SECONDS, "seconds after which a server that takes no connection counts as unavailable", ANSWER_WITHIN
    ),
    "socket_timeout": Option(
        SECONDS, "seconds after which a server that does not answer counts as unavailable", ANSWER_WITHIN
    ),
}
_CHECKED = {
    "health_check_interval": Option(
        whole(0, 3600), "seconds after which an idle connection is tried before its next use; 0: never", 30
    )
}
_TLS = {
    "ssl_ca_certs": Option(FILE, "the file of the authorities that are trusted, in PEM", unless_set="the system's"),
    "ssl_ca_path": Option(FILE, "a folder of such files, with OpenSSL's names"),
    "ssl_cert_reqs": Option(
        choice("none", "optional", "required"), "whether the server's certificate is verified", unless_set="required"
    ),
    "ssl_certfile": Option(FILE, "the client's certificate, in PEM"),
    "ssl_check_hostname": Option(SWITCH, "whether the certificate must be for this host", unless_set="true"),
    "ssl_keyfile": Option(FILE, "the key of the client's certificate, in PEM"),
    "ssl_password": Option(SECRET, "the password of that key"),
}
_SENTINEL = {
    "sentinel_password": Option(SECRET, "the password of the Sentinels, all the same"),
    "sentinel_username": Option(TEXT, "the user of the Sentinels", unless_set="`default`"),
}
_SOCKET_ACCOUNT = {
    "password": Option(SECRET, "the server's password, instead of one before the path"),
    "username": Option(TEXT, "the user, instead of one before the path"),
}
_INSTEAD = {
    "decode_responses": "Lapse itself reads what Redis answers, so leave it out",
    "encoding": "Lapse itself reads what Redis answers, so leave it out",
    "password": "write the account before the host, as user:password@host",
    "username": "write the account before the host, as user:password@host",
}


def _form(scheme: str) -> Form:
    """Return what the URLs of a scheme understand."""
    words = scheme.split("+")
    options = dict(_CONNECTION)
    instead = dict(_INSTEAD)
    if "apscheduler" not in words:
        options |= _SHARDS
    if "expiry" in words:
        options |= _PREFIX
    if "rediss" in words:
        options |= _TLS
    else:
        secure = scheme.replace("redis", "rediss", 1)
        instead |= dict.fromkeys(("ssl", *_TLS), f"TLS has its own scheme, {secure}://")
    if "cluster" in words:
        instead["db"] = "a cluster has no other database than 0"
        return Form(
            example=f"{scheme}://:password@host1:7000,host2:7000",
            hosts=(1, 100),
            path={"database": Option(whole(0, 0), "always 0")},
            options=options,
            instead=instead,
        )
    options |= _CHECKED
    if "sentinel" in words:
        instead["db"] = "write the number after the name, as /mymaster/5"
        return Form(
            example=f"{scheme}://:password@host1:26379,host2:26379/mymaster/0",
            hosts=(1, 100),
            path={"service": Option(TEXT, "the master's name"), "db": _DATABASE},
            needed=1,
            options=options | _SENTINEL,
            instead=instead,
        )
    options |= {"db": _DATABASE}
    if "unix" in words:
        return Form(
            example=f"{scheme}:///run/redis/redis.sock?db=0",
            hosts=(0, 0),
            path={"socket": Option(FILE, "the socket's path")},
            needed=1,
            rest_of_path=True,
            options=options | _SOCKET_ACCOUNT,
            instead={**_INSTEAD, **dict.fromkeys(("ssl", *_TLS), "a Unix socket needs no TLS")},
        )
    return Form(
        example=f"{scheme}://:password@localhost:6379/0", path={"db": _DATABASE}, options=options, instead=instead
    )


FORMS = {
    scheme: _form(scheme)
    for scheme in (
        *(
            f"{transport}{mechanism}{topology}"
            for transport in ("redis", "rediss")
            for mechanism in ("", "+expiry")
            for topology in ("", "+sentinel", "+cluster")
        ),
        "redis+unix",
        "redis+expiry+unix",
        "unix",
        "apscheduler+redis",
        "apscheduler+rediss",
    )
}
"""Scheme → what its URLs understand. `unix://` is redis-py's own name for a Redis at a Unix socket."""


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a Redis, parsed from a URL."""

    url: Url

    @classmethod
    def parse(cls, url: str, *, instead: Mapping[str, str] = MappingProxyType({})) -> "Address":
        """Return the address. Options in `instead` are refused; it says, for each of them, what to do instead.

        Raises ConfigError for a part that is not understood, or for a certificate that cannot be used.
        """
        scheme = url.partition(":")[0].lower()
        address = cls(FORMS[scheme].without(instead).read(url))
        _check_certificates(address.url.options)
        return address

    @property
    def options(self) -> Mapping[str, Any]:
        """The values of the URL's path and query, with their defaults."""
        return self.url.options

    def connect(self) -> Client:
        """Return a client. Only the client of a cluster connects at once, to read the slots."""
        words = self.url.scheme.split("+")
        given = self.url.options
        hosts = [(host.name, host.port) for host in self.url.hosts]
        settings: dict[str, Any] = {name: given[name] for name in (*_CONNECTION, *_CHECKED, *_TLS) if name in given}
        settings |= {
            "username": self.url.user or given.get("username"),
            "password": self.url.password or given.get("password"),
            # The library's own default is version 3 with the answers of version 2, which "3" would change.
            "protocol": 2 if given["protocol"] == "2" else None,
            # One retry at once, for a connection that was closed while idle. The worker's own back-off does the rest.
            "retry": Retry(NoBackoff(), 1, supported_errors=(exceptions.ConnectionError,)),
        }
        if "rediss" in words:
            settings["ssl"] = True
        if "cluster" in words:
            nodes = [ClusterNode(host, port or 6379) for host, port in hosts]  # type: ignore[no-untyped-call] # no types
            with translated():  # this client connects at once to read the slots, and again after each error
                return RedisCluster(startup_nodes=nodes, **settings)
        settings["db"] = given["db"]
        if "sentinel" in words:
            own = {"username": given.get("sentinel_username"), "password": given.get("sentinel_password")}
            sentinels = [(host, port or 26379) for host, port in hosts]
            return master_of(given["service"], sentinels, own=own, settings=settings)
        if "unix" in words:
            return redis.Redis(unix_socket_path=given["socket"], **settings)
        ((host, port),) = hosts
        return redis.Redis(host=host, port=port or 6379, **settings)


def _check_certificates(options: Mapping[str, Any]) -> None:
    """Raise ConfigError if a file for TLS cannot be used: each try to connect would fail, as if the server was down."""
    certificate, key = options.get("ssl_certfile"), options.get("ssl_keyfile")
    if key and not certificate:
        raise ConfigError("ssl_keyfile= needs ssl_certfile=, the client's certificate")
    file, folder = options.get("ssl_ca_certs"), options.get("ssl_ca_path")
    if not (file or folder or certificate):
        return  # a context would read the system's certificates, which takes 60 ms
    try:
        context = ssl.create_default_context(cafile=file, capath=folder)
    except OSError as error:
        raise ConfigError(
            f"ssl_ca_certs= or ssl_ca_path= names no readable certificates in PEM: {_why(error)}"
        ) from None
    try:
        if certificate:
            context.load_cert_chain(certificate, key, options.get("ssl_password", ""))
    except OSError as error:
        raise ConfigError(
            f"ssl_certfile=, ssl_keyfile= and ssl_password= name no usable certificate and key: {_why(error)}"
        ) from None


def _why(error: OSError) -> str:
    """Return the system's words for an error. OpenSSL's words name lines of its own code, so they are left out."""
    return "not in PEM, or another password" if isinstance(error, ssl.SSLError) else str(error.strerror)
