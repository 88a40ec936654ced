"""Strict URLs: each part of a URL is understood, or refused by one sentence that says what to write instead.

A `Form` declares what the URLs of a scheme understand. `Form.read` returns a `Url`.

No message shows a part of a password. A password with an unescaped '/', '?' or '#' moves its own end into the path or
the query. The '@' after such a password shows this: so nothing of a URL is shown if '@' follows the address.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from ipaddress import IPv6Address
from typing import Any, NamedTuple
from urllib.parse import unquote

from lapse.engine.errors import ConfigError
from lapse.engine.url_values import Kind, Option

HIGHEST_PORT = 65_535

MOST_SHOWN = 40
"""Characters of a wrong value that a message shows."""

_PARTS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_HOST = re.compile(r"(\[(?P<v6>[^\[\]]*)\]|(?P<name>[^\[\]:]*))(:(?P<port>.*))?")
_ESCAPES = "write these characters of a password as escapes: / as %2F, ? as %3F, # as %23, @ as %40, [ as %5B, ] as %5D"


class Host(NamedTuple):
    """A host and its port; None where the URL has no port."""

    name: str
    port: int | None


@dataclass(frozen=True, slots=True)
class Url:
    """A URL that was understood. `options` has the values by name, of path and query, with their defaults."""

    scheme: str
    user: str | None = field(repr=False)
    password: str | None = field(repr=False)
    hosts: tuple[Host, ...]
    options: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What the URLs of a scheme understand.

    `hosts` is the least and the largest number of hosts. `path` names the parts of the path in their order, the first
    `needed` of which must be there; with `rest_of_path` its only part is the whole path. `instead` says, for options
    that other software knows, what to write here.
    """

    example: str
    account: bool = True
    hosts: tuple[int, int] = (1, 1)
    sockets: bool = False
    path: Mapping[str, Option] = field(default_factory=dict)
    needed: int = 0
    rest_of_path: bool = False
    options: Mapping[str, Option] = field(default_factory=dict)
    instead: Mapping[str, str] = field(default_factory=dict)

    def without(self, instead: Mapping[str, str]) -> "Form":
        """Return this form without some options; `instead` says, for each of them, what to write instead."""
        kept = {name: option for name, option in self.options.items() if name not in instead}
        return replace(self, options=kept, instead={**self.instead, **instead})

    def read(self, url: str) -> Url:
        """Return the parts of a URL. Raises ConfigError for a part that is not understood."""
        check_characters(url)
        parts = _PARTS.fullmatch(url)
        if parts is None:
            raise ConfigError(f"this is not a URL: write it like {self.example}")
        scheme, rest = parts["scheme"].lower(), parts["rest"]
        reader = _Reader(self, f"{scheme}:// URL")
        if self.account and "@" in parts["path"] + rest:
            raise ConfigError(f"the {scheme}:// URL has an '@' after its address: {_ESCAPES}")
        query, hash_sign, _ = rest.removeprefix("?").partition("#")
        if hash_sign:
            raise ConfigError(f"the {scheme}:// URL has a '#': write %23 if it is part of a password or a name")
        account, at, hosts = parts["authority"].rpartition("@")
        if at and not self.account:
            raise ConfigError(f"the {scheme}:// URL takes no user and no password: write it like {self.example}")
        if set("[]") & set(account):
            raise ConfigError(f"the {scheme}:// URL has a bracket in its user or password: {_ESCAPES}")
        user, colon, password = account.partition(":")
        set_before = {
            **dict.fromkeys(("user", "username"), user),
            "password": password,
            "host": hosts,
            "port": ":" in hosts,
        }
        defaults = {name: option.default for name, option in {**self.path, **self.options}.items()}
        return Url(
            scheme,
            reader.decoded("user", user) or None,
            reader.decoded("password", password) if colon else None,
            tuple(reader.hosts(hosts)),
            {name: value for name, value in defaults.items() if value is not None}
            | dict(reader.values(parts["path"], query, {name for name, is_set in set_before.items() if is_set})),
        )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the parts of one URL. `what` names it in messages."""

    form: Form
    what: str

    def hosts(self, text: str) -> Iterator[Host]:
        """Yield the hosts. No message shows one: it may be a password that lacks its '@'."""
        least, most = self.form.hosts
        hosts = text.split(",") if text else []
        if most == 0 and hosts:
            raise ConfigError(f"the {self.what} takes no host: write it like {self.form.example}")
        if len(hosts) < least:
            raise ConfigError(f"the {self.what} has no host: write it like {self.form.example}")
        if len(hosts) > most:
            raise ConfigError(f"the {self.what} has several hosts but takes one: write it like {self.form.example}")
        for host in hosts:
            yield self._host(host)

    def _host(self, text: str) -> Host:
        parts = _HOST.fullmatch(text)
        if parts is None or not self._is_name(parts):
            raise ConfigError(
                f"the host in the {self.what} cannot be read: write an IPv6 address in brackets, as [::1]; {_ESCAPES}"
            )
        port = parts["port"]
        if port is not None and (not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= HIGHEST_PORT):
            raise ConfigError(f"the port in the {self.what} is not a number from 1 to {HIGHEST_PORT}; {_ESCAPES}")
        return Host(self.decoded("host", parts["v6"] or parts["name"]), int(port) if port else None)

    def _is_name(self, parts: re.Match[str]) -> bool:
        if parts["v6"] is not None:
            with suppress(ValueError):
                return bool(IPv6Address(parts["v6"]))
            return False
        unfit = ":" if self.form.sockets else "%"  # libpq takes the folder of a socket as a host: %2Frun%2Fpostgresql
        return bool(parts["name"] or self.form.sockets) and not set(unfit) & set(parts["name"])

    def values(self, path: str, query: str, seen: set[str]) -> Iterator[tuple[str, Any]]:
        """Yield the values of the path and of the query, by name. `seen` has the names of what is before the path."""
        for name, value in (*self._of_path(path), *self._of_query(query)):
            if name in seen:
                raise ConfigError(f"the {self.what} has {name} twice: leave one of them out")
            seen.add(name)
            yield name, value

    def _of_path(self, path: str) -> Iterator[tuple[str, Any]]:
        known = self.form.path
        given = [path] if self.form.rest_of_path else path.split("/")[1:]
        if given in ([""], ["/"]):
            given = []
        if not known and given:
            raise ConfigError(f"the {self.what} takes no path: write it like {self.form.example}")
        if len(given) > len(known):
            raise ConfigError(
                f"the path of the {self.what} has too many parts: write a '/' in a name as %2F, and "
                f"the URL like {self.form.example}"
            )
        if len(given) < self.form.needed:
            missing = [*known][len(given)]
            raise ConfigError(f"the {self.what} lacks its {missing}: write it like {self.form.example}")
        for (name, option), text in zip(known.items(), given, strict=False):
            yield name, self._value(f"the {name} in the path of the {self.what}", option.kind, text)

    def _of_query(self, query: str) -> Iterator[tuple[str, Any]]:
        for text in query.split("&") if query else ():
            name, equals, value = text.partition("=")
            if name not in self.form.options:
                raise ConfigError(self._unknown(name))
            if not equals:
                raise ConfigError(f"{name} in the {self.what} has no value: write {name}=value")
            if "+" in value:
                raise ConfigError(f"{name}= in the {self.what} has a '+': write %2B for '+', and %20 for a blank")
            yield name, self._value(f"{name}= in the {self.what}", self.form.options[name].kind, value)

    def _unknown(self, name: str) -> str:
        """Return the message about an option that is not understood."""
        known = [*self.form.options]
        if not _NAME.fullmatch(name):
            return f"an option in the {self.what} is not written as name=value, with '&' between two options"
        said = f"the {self.what} has no option {name!r}"
        if name in self.form.instead:
            return f"{said}: {self.form.instead[name]}"
        if near := nearest(name, known):
            return f"{said}: did you mean {near}?"
        return f"{said}: it takes {', '.join(sorted(known))}" if known else f"{said}: it takes no options"

    def _value(self, where: str, kind: Kind, text: str) -> Any:  # noqa: ANN401 - as the kind reads it
        if not text:
            raise ConfigError(f"{where} is empty: leave it out, or write a value")
        value = kind.read(self.decoded(where, text))
        if value is None:
            got = "" if kind.secret else f"; got {unquote(text)[:MOST_SHOWN]!r}"
            raise ConfigError(f"{where} must be {kind.expected}{got}")
        return value

    def decoded(self, where: str, text: str) -> str:
        """Return a text without percent escapes. Raises ConfigError for a broken escape; its text is not shown."""
        if re.search(r"%(?![0-9A-Fa-f]{2})", text):
            raise ConfigError(f"{_in(where, self.what)} has a '%' that begins no escape: write '%' itself as %25")
        try:
            plain = unquote(text, errors="strict")
        except UnicodeDecodeError:
            raise ConfigError(f"{_in(where, self.what)} has escapes that are not UTF-8") from None
        if "\0" in plain:
            raise ConfigError(f"{_in(where, self.what)} has a zero byte (%00), which no server accepts")
        return plain


def _in(where: str, what: str) -> str:
    return where if what in where else f"the {where} in the {what}"


def nearest(text: str, known: Collection[str]) -> str | None:
    """Return the known text that is most like this one; None if no known text is like it."""
    return next(iter(get_close_matches(text.lower(), known, n=1)), None)


def check_characters(url: str) -> None:
    """Raise ConfigError for characters that no URL has: they come from quotation marks or a broken line."""
    if url[:1] == "\ufeff":
        raise ConfigError("the URL begins with a byte order mark (U+FEFF): save its file as UTF-8 without this mark")
    if assigned := re.match(r"(export )?([A-Za-z_]\w{0,39})=.*://", url):
        raise ConfigError(f"the URL begins with the name of a variable, {assigned[2]}=: remove the name")
    if url[:1] in {'"', "'"} or url[-1:] in {'"', "'"}:
        raise ConfigError("the URL begins or ends with a quotation mark: remove it")
    if url != url.strip():
        raise ConfigError("the URL begins or ends with a blank or a line break: remove it")
    if re.search(r"[\x00-\x20\x7f-\xa0]|\s", url):
        raise ConfigError("the URL has a blank or a control character: write a blank as %20")
