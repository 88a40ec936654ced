"""The tables of what each scheme's URLs understand, made from the declarations. No server is contacted."""

from collections.abc import Callable, Mapping
from typing import Any

from lapse.config import FORMS, MECHANISMS, form_of
from lapse.engine.url_values import SECRET, TEXT, Option

HEADINGS = {
    "lapse.timers.memory": "",
    "lapse.timers.redis.address": "Redis",
    "lapse.timers.sql.postgresql_address": "PostgreSQL",
    "lapse.timers.sql.mysql_address": "MySQL and MariaDB",
    "lapse.timers.sql.sqlite_address": "",
    "lapse.timers.rabbitmq.address": "RabbitMQ",
}
"""The module with the declarations → the heading of its table; "" where URLs have no options."""

WORDS: Mapping[str, Callable[[list[str]], bool]] = {
    "all": lambda _words: True,
    "`rediss…`": lambda words: "rediss" in words,
    "`…+expiry…`": lambda words: "expiry" in words,
    "`…+sentinel`": lambda words: "sentinel" in words,
    "`…unix`": lambda words: "unix" in words,
    "all but `…+cluster`": lambda words: "cluster" not in words,
    "all but `…+cluster` and `…+sentinel`": lambda words: not {"cluster", "sentinel"} & set(words),
    "all but `apscheduler+…`": lambda words: "apscheduler" not in words,
    "`amqps`": lambda words: "amqps" in words,
}
"""What a cell says of the schemes that understand an option → whether a scheme, as a list of its words, is meant."""


def url_tables() -> str:
    """Return a heading and a table of options for each kind of server, in the order of HEADINGS."""
    parts = []
    for module, heading in HEADINGS.items():
        schemes = [scheme for scheme in MECHANISMS if _module_of(scheme) == module]
        assert schemes, module
        if not heading:
            assert not any(form_of(scheme).options for scheme in schemes), module
            continue
        options = {name: option for scheme in schemes for name, option in form_of(scheme).options.items()}
        lines = [
            f"### {heading}",
            "",
            "| option | in URLs | value | meaning | unless set |",
            "| --- | --- | --- | --- | --- |",
        ]
        for name, option in sorted(options.items()):
            if module.endswith("postgresql_address") and option.kind in (TEXT, SECRET) and option.default is None:
                continue  # another parameter of libpq, which the page names as a whole
            cells = [f"`{name}`", _schemes(schemes, name), option.kind.expected, option.meaning, _unless_set(option)]
            lines.append(f"| {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _module_of(scheme: str) -> str:
    return FORMS[scheme.removeprefix("apscheduler+").partition("+")[0]]


def _schemes(schemes: list[str], name: str) -> str:
    """Return the words for the schemes whose URLs have the option. Raises AssertionError where WORDS lacks them."""
    having = {scheme for scheme in schemes if name in form_of(scheme).options}
    for text, meant in WORDS.items():
        if {scheme for scheme in schemes if meant(scheme.split("+"))} == having:
            return text
    raise AssertionError(f"say in WORDS which schemes have {name}: {', '.join(sorted(having))}")


def _unless_set(option: Option) -> str:
    value: Any = option.default if option.default is not None else option.unless_set
    return f"{value:g}" if isinstance(value, float) else str(value) or "–"
