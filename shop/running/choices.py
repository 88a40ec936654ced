"""The settings of `make run`, read from the environment and checked before anything is started."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from lapse import MECHANISMS, ConfigError, check_url
from shop.running.own_servers import FILE, OWN_SERVERS, OwnServer, address, file_in, store_of
from shop.windows import read_windows, refuse_short

DEFAULT_PORT = 8000
DEFAULT_WINDOW = "60"
DEFAULT_LEAST_TIME = "5"
LONGEST_WINDOW = 366 * 86_400
HIGHEST_PORT = 65_535


class WrongChoice(Exception):
    """A setting that is not possible. The message says what to write instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The settings of one run.

    `folder` keeps all data. `port` is the web server's. `window` is a text: a number of seconds. `timer` is a URL, a
    bare scheme such as "redis+expiry://", or "none". `database` and `redis` are URLs of existing servers, or "".
    `mails` is where mails are sent. `simulator` says whether orders are paid at a simulator of Alipay; None as
    `simulator_port` means any free port.
    """

    folder: Path
    port: int
    window: str
    timer: str
    database: str
    redis: str
    mails: str
    simulator: bool
    simulator_port: int | None

    @property
    def given(self) -> dict[str, str]:
        """The URLs of existing servers by store: these servers are not started."""
        return {store: url for store, url in {"postgresql": self.database, "redis": self.redis}.items() if url}

    @property
    def to_start(self) -> list[OwnServer]:
        """The servers that this run must start, the shop's database first."""
        wanted = dict.fromkeys(("postgresql", self.store or FILE))
        return [OWN_SERVERS[store] for store in wanted if store in OWN_SERVERS and store not in self.given]

    @property
    def store(self) -> str | None:
        """The store of this run that the timer needs; None if its URL has an address, or if there is no timer."""
        return store_of(_scheme(self.timer)) if is_bare(self.timer) else None

    def timer_url(self, servers: Mapping[str, str]) -> str:
        """Return the timer's full URL, or "none". `servers` has the addresses by store. Raises WrongChoice."""
        if self.store is None:
            return self.timer
        server = file_in(self.folder) if self.store == FILE else servers[self.store]
        url = address(_scheme(self.timer), server)
        if _mistake_in(url):
            raise WrongChoice(f"LAPSE_TIMER={self.timer} cannot be on {without_password(server)}.")
        return url


def read(environment: Mapping[str, str], checkout: Path) -> Choices:
    """Return the checked settings. Raises WrongChoice."""

    def given(name: str, default: str = "") -> str:
        return environment.get(name, "").strip() or default

    redis = given("REDIS_URL")
    if redis and (not _scheme(redis).startswith("redis") or is_bare(redis)):
        raise WrongChoice("REDIS_URL must be an address such as redis://localhost:6379/0.")
    for name in ("REDIS_URL", "DATABASE_URL"):
        if mistake := given(name) and _mistake_in(given(name)):
            raise WrongChoice(f"{name}: {mistake}.")
    gateway = given("SHOP_GATEWAY", "alipay")
    if gateway not in {"alipay", "development"}:
        raise WrongChoice(f"SHOP_GATEWAY must be alipay or development, not {gateway!r}.")
    simulator_port = given("ALIPAY_SIMULATOR_PORT")
    return Choices(
        folder=Path(given("LAPSE_RUN_DIR", str(checkout / ".run"))).resolve(),
        port=_port("PORT", given("PORT", str(DEFAULT_PORT))),
        window=_window(
            given("LAPSE_PAYMENT_WINDOW", DEFAULT_WINDOW),
            given("LAPSE_PAYMENT_WINDOWS"),
            gateway,
            given("LEAST_TIME_TO_PAY", DEFAULT_LEAST_TIME),
        ),
        timer=_timer(given("LAPSE_TIMER", "redis://"), redis),
        database=given("DATABASE_URL"),
        redis=redis,
        mails=given("MAIL_SERVER", "console"),
        simulator=gateway == "alipay" and not given("ALIPAY_APP_ID"),
        simulator_port=_port("ALIPAY_SIMULATOR_PORT", simulator_port) if simulator_port else None,
    )


def is_bare(url: str) -> bool:
    """Return True if the URL is only a scheme. An empty path of a file counts as no path."""
    return url.endswith(("://", f"{FILE}:///"))


def without_password(url: str) -> str:
    """Return the URL without user, password and query."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


def check_port(port: int, name: str = "PORT") -> None:
    """Raise WrongChoice if another process uses the port, or if it is not permitted. `name` is the setting's name."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the web server does
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except PermissionError as error:
            raise WrongChoice(f"Port {port} is not permitted. Choose one above 1023: make run {name}=8001") from error
        except OSError as error:
            raise WrongChoice(
                f"Port {port} is in use. Choose another one: make run {name}={_neighbour(port)}"
            ) from error


def _neighbour(port: int) -> int:
    return port + 1 if port < HIGHEST_PORT else port - 1


def _port(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= HIGHEST_PORT):
        raise WrongChoice(f"{name} must be a number from 1 to {HIGHEST_PORT}, not {text!r}.")
    return int(text)


def _window(text: str, by_method: str, gateway: str, least_time: str) -> str:
    """Return the text of the usual window. Raises WrongChoice, also if the gateway's own window is too short."""
    usual = _seconds("LAPSE_PAYMENT_WINDOW", text)
    name = "LAPSE_PAYMENT_WINDOWS"
    try:
        windows = read_windows(by_method)
        name = name if gateway in windows else "LAPSE_PAYMENT_WINDOW"
        refuse_short(gateway, windows.get(gateway, usual), _seconds("LEAST_TIME_TO_PAY", least_time))
    except ValueError as error:
        raise WrongChoice(f"{name} {error}.") from error
    return text


def _seconds(name: str, text: str) -> timedelta:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST_WINDOW:
        raise WrongChoice(f"{name} must be a number of seconds above 0 and up to {LONGEST_WINDOW:,}, not {text!r}.")
    return timedelta(seconds=seconds)


def _timer(text: str, redis: str) -> str:
    scheme = _scheme(text)
    if is_bare(text) and "rediss" in scheme.split("+") and not _scheme(redis).startswith("rediss"):
        without = "REDIS_URL names a server without TLS" if redis else "the Valkey that make run starts has no TLS"
        raise WrongChoice(
            f"LAPSE_TIMER={text} asks for TLS, but {without}. Write {text.replace('rediss', 'redis')}, or name a "
            "server with TLS: REDIS_URL=rediss://redis.example.org:6380/0"
        )
    if text == "none" or (is_bare(text) and scheme in MECHANISMS and store_of(scheme)):
        return text
    if scheme == "memory":
        raise WrongChoice("LAPSE_TIMER cannot be memory://: the web server and the worker are two processes.")
    if mistake := _mistake_in(text):
        raise WrongChoice(
            f"LAPSE_TIMER: {mistake}. For a server of this run write a bare scheme, as redis:// or postgresql://; "
            "for no timer write none."
        )
    return text


def _mistake_in(url: str) -> str:
    """Return what is wrong with the URL of a timer or a server, without any part of a password; "" if nothing is."""
    try:
        check_url(url)
    except ConfigError as error:
        return str(error)
    return ""


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower() if "://" in url else ""
