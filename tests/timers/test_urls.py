"""Mistakes in URLs of every scheme: each is refused by one sentence without a secret, before a server is contacted."""

import traceback
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lapse import ConfigError, MissingLibrary, TimerRefused, open_timer
from lapse.config import ELSEWHERE, FORMS, MECHANISMS, check_url, form_of, scheme_of
from lapse.engine.url import Host
from lapse.testing.servers import PostgresServer
from lapse.watch.watched_keys import open_watch

ESCAPES = "write these characters of a password as escapes"

MISTAKES = {
    # the scheme
    "": "a timer's URL begins as redis://localhost:6379/0 does, with one of amqp://",
    "localhost:6379": "a timer's URL begins as redis://localhost:6379/0 does",
    "redis:/localhost": "two slashes are missing after redis: write redis://",
    "redis:localhost": "two slashes are missing after redis: write redis://",
    "reddis://h": "no timer understands reddis://: did you mean redis://?",
    "redis+sentinal://h/m": "did you mean redis+sentinel://?",
    "sentinel://h/m": "did you mean redis+sentinel://?",
    "redis+socket:///run/redis.sock": "did you mean redis+unix://?",
    "valkey://h": "did you mean redis://?",
    "postgresql+psycopg://h/shop": "did you mean postgresql://?",
    "mysql+pymysql://h/shop": "did you mean mysql://?",
    "sqlite3:///shop.db": "did you mean sqlite://?",
    "pyamqp://h": "did you mean amqp://?",
    "http://h": "no timer understands http://: use one of amqp://",
    "apscheduler+mysql://h/shop": "no timer understands apscheduler+mysql://",
    # copied with what stood around it
    "\ufeffredis://h": "the URL begins with a byte order mark (U+FEFF)",
    "LAPSE_TIMER=redis://:hunter2@h": "the URL begins with the name of a variable, LAPSE_TIMER=: remove the name",
    "export LAPSE_TIMER=redis://h": "the URL begins with the name of a variable, LAPSE_TIMER=: remove the name",
    '"redis://h"': "the URL begins or ends with a quotation mark: remove it",
    "redis://h/0'": "the URL begins or ends with a quotation mark: remove it",
    "redis://h\n": "the URL begins or ends with a blank or a line break: remove it",
    " redis://h": "the URL begins or ends with a blank or a line break: remove it",
    "redis://h/0?shards=4 5": "the URL has a blank or a control character: write a blank as %20",
    "redis://:pass word@h": "write a blank as %20",
    "redis://h\x7f": "the URL has a blank or a control character",
    # host and port
    "redis://": "the redis:// URL has no host: write it like redis://:password@localhost:6379/0",
    "redis:///0": "the redis:// URL has no host",
    "redis://:6379/0": "the host in the redis:// URL cannot be read",
    "redis://::1/0": "write an IPv6 address in brackets, as [::1]",
    "redis://[::1/0": "write an IPv6 address in brackets, as [::1]",
    "redis://[localhost]/0": "write an IPv6 address in brackets, as [::1]",
    "redis://h:65536/0": "the port in the redis:// URL is not a number from 1 to 65535",
    "redis://h:0/0": "the port in the redis:// URL is not a number from 1 to 65535",
    "redis://h:/0": "the port in the redis:// URL is not a number from 1 to 65535",
    "redis://h:port/0": "the port in the redis:// URL is not a number from 1 to 65535",
    "redis://h1,h2/0": "the redis:// URL has several hosts but takes one",
    "redis+sentinel://h1:26379,/m": "the host in the redis+sentinel:// URL cannot be read",
    "redis+sentinel://h1:x/m": "the port in the redis+sentinel:// URL is not a number",
    "redis+cluster://": "the redis+cluster:// URL has no host",
    "redis+unix://run/redis.sock": "takes no host: write it like redis+unix:///run/redis/redis.sock?db=0",
    "memory://localhost": "the memory:// URL takes no host: write it like memory://",
    "mysql://h:99999/shop": "the port in the mysql:// URL is not a number from 1 to 65535",
    "postgresql://h:port/shop": "the port in the postgresql:// URL is not a number from 1 to 65535",
    "amqp://": "the amqp:// URL has no host: write it like amqp://user:password@localhost:5672/vhost",
    "amqp://h:port": "the port in the amqp:// URL is not a number from 1 to 65535",
    "sqlite://shop.db": "the sqlite:// URL takes no host: write it like sqlite:///orders.db",
    "sqlite://me@h/shop.db": "the sqlite:// URL takes no user and no password",
    # the path
    "redis://h/shop": "the db in the path of the redis:// URL must be a whole number from 0 to 2147483647; got 'shop'",
    "redis://h/-1": "must be a whole number from 0 to 2147483647; got '-1'",
    "redis://h/1/2": "the path of the redis:// URL has too many parts",
    "redis://h/1/": "the path of the redis:// URL has too many parts",
    "redis+sentinel://h": "the redis+sentinel:// URL lacks its service",
    "redis+sentinel://h/": "the redis+sentinel:// URL lacks its service",
    "redis+sentinel://h/m/": "the db in the path of the redis+sentinel:// URL is empty",
    "redis+sentinel://h/m/five": "must be a whole number from 0 to 2147483647; got 'five'",
    "redis+cluster://h/5": "the database in the path of the redis+cluster:// URL must be 0; got '5'",
    "unix://": "the unix:// URL lacks its socket: write it like unix:///run/redis/redis.sock?db=0",
    "memory:///shop": "the memory:// URL takes no path",
    "mysql://h": "the mysql:// URL lacks its database: write it like mysql://user:password@localhost:3306/database",
    "mysql://h/a/b": "write a '/' in a name as %2F",
    "postgresql://h/a/b": "the path of the postgresql:// URL has too many parts",
    "amqp://h/a/b": "the path of the amqp:// URL has too many parts: write a '/' in a name as %2F",
    "sqlite://": "the sqlite:// URL lacks its file: write it like sqlite:///orders.db, or sqlite:////var",
    "sqlite:///": "the sqlite:// URL lacks its file",
    "sqlite:///:memory:": "sqlite:/// needs a file, such as sqlite:///orders.db; for one process there is memory://",
    "apscheduler+sqlite://": "the apscheduler+sqlite:// URL lacks its file",
    # options that are not understood
    "redis+sentinel://h/mymaster?db=5": "has no option 'db': write the number after the name, as /mymaster/5",
    "redis+cluster://h?db=5": "has no option 'db': a cluster has no other database than 0",
    "redis://h?shard=4": "the redis:// URL has no option 'shard': did you mean shards?",
    "redis://h?Shards=4": "did you mean shards?",
    "redis://h?timeout=3": "the redis:// URL has no option 'timeout': did you mean socket_timeout?",
    "redis://h?prefix=nick_": "the redis:// URL has no option 'prefix': it takes client_name, db,",
    "redis://h?ssl_cert_reqs=none": "has no option 'ssl_cert_reqs': TLS has its own scheme, rediss://",
    "redis+expiry://h?ssl=true": "has no option 'ssl': TLS has its own scheme, rediss+expiry://",
    "redis://h?decode_responses=true": "Lapse itself reads what Redis answers, so leave it out",
    "redis://h?password=geheim": "write the account before the host, as user:password@host",
    "apscheduler+redis://h?shards=4": "the apscheduler+redis:// URL has no option 'shards'",
    "redis+unix:///run/s?ssl_ca_certs=/c": "has no option 'ssl_ca_certs': a Unix socket needs no TLS",
    "memory://?shards=4": "the memory:// URL has no option 'shards': it takes no options",
    "mysql://h/shop?charset=latin1": "the timer always uses utf8mb4, so leave it out",
    "mysql://h/shop?ssl_mode=REQUIRED": "name the authority's file in ssl_ca= to require TLS",
    "mysql://h/shop?read_timeot=3": "did you mean read_timeout?",
    "postgresql://h/shop?ssl_mode=require": "has no option 'ssl_mode': did you mean sslmode?",
    "postgresql://h/shop?ssl=true": "has no option 'ssl': write sslmode=require",
    "apscheduler+postgresql://h/shop?sslmod=require": "did you mean sslmode?",
    "amqp://h?heart_beat=3": "the amqp:// URL has no option 'heart_beat': did you mean heartbeat?",
    "amqp://h?cafile=/ca.pem": "has no option 'cafile': TLS has its own scheme, amqps://",
    "sqlite:///shop.db?mode=ro": "the sqlite:// URL has no option 'mode': it takes no options",
    # options with a value that does not fit
    "rediss://h?ssl_cert_reqs=CERT_NONE": "must be none, optional or required; got 'CERT_NONE'",
    "rediss://h?ssl_check_hostname=perhaps": "ssl_check_hostname= in the rediss:// URL must be true or false",
    "rediss://h?ssl_ca_certs=/none.pem": "names no readable certificates in PEM: No such file or directory",
    "rediss://h?ssl_keyfile=/key.pem": "ssl_keyfile= needs ssl_certfile=, the client's certificate",
    "redis://h?protocol=1": "protocol= in the redis:// URL must be 2 or 3; got '1'",
    "redis://h?shards=0": "shards= in the redis:// URL must be a whole number from 1 to 64; got '0'",
    "redis://h?shards=four": "must be a whole number from 1 to 64; got 'four'",
    "redis://h?socket_timeout=soon": "must be a number of seconds above 0; got 'soon'",
    "redis://h?socket_timeout=0": "must be a number of seconds above 0; got '0'",
    "redis://h?socket_timeout=nan": "must be a number of seconds above 0; got 'nan'",
    "redis://h?db=x": "db= in the redis:// URL must be a whole number",
    "mysql://h/shop?ssl_verify_cert=perhaps": "ssl_verify_cert= in the mysql:// URL must be true or false",
    "postgresql://h/shop?sslmode=on": "sslmode= in the postgresql:// URL must be disable, allow, prefer, require,",
    "postgresql://h/shop?connect_timeout=soon": "connect_timeout= in the postgresql:// URL must be a whole number",
    "postgresql:///shop?port=abc": "port= in the postgresql:// URL must be a port, or several with commas",
    "amqp://h?heartbeat=61": "heartbeat= in the amqp:// URL must be a whole number from 1 to 60; got '61'",
    "amqps://h?cafile=/none": "cafile= in the amqps:// URL names no file with PEM certificates",
    "amqp://h?management=h:15672": "must be the management API's address without an account",
    # options that are written in a way that cannot be read
    "redis+expiry://h?prefix=": "prefix= in the redis+expiry:// URL is empty: leave it out, or write a value",
    "redis+expiry://h?prefix": "prefix in the redis+expiry:// URL has no value: write prefix=value",
    "redis+expiry://h?prefix=a+b": "has a '+': write %2B for '+', and %20 for a blank",
    "redis://h?shards=4&shards=5": "the redis:// URL has shards twice: leave one of them out",
    "redis://h/1?db=1": "the redis:// URL has db twice: leave one of them out",
    "unix://:a@/run/s?password=b": "the unix:// URL has password twice: leave one of them out",
    "postgresql://h/shop?host=/run": "the postgresql:// URL has host twice: leave one of them out",
    "redis://h?shards=4;db=1": "shards= in the redis:// URL must be a whole number from 1 to 64; got '4;db=1'",
    "redis://h?shards=4&&db=1": "is not written as name=value, with '&' between two options",
    "redis+expiry://h?prefix=50%": "has a '%' that begins no escape: write '%' itself as %25",
    "redis+expiry://h?prefix=%FF": "has escapes that are not UTF-8",
    "redis+expiry://h?prefix=%00": "has a zero byte (%00), which no server accepts",
    "sqlite:///a%00b.db": "has a zero byte (%00), which no server accepts",
    # passwords with characters that have a meaning in URLs
    "redis://:geheim/x@h/0": ESCAPES,
    "redis://:geheim?x@h/0": ESCAPES,
    "redis://:geheim#x@h/0": ESCAPES,
    "redis://:geheim%zz@h/0": "the password in the redis:// URL has a '%' that begins no escape",
    "redis://:geheim%FF@h/0": "the password in the redis:// URL has escapes that are not UTF-8",
    "redis://:geheim[x]@h/0": "the redis:// URL has a bracket in its user or password",
    "redis://:geheim[@h]/0": "the redis:// URL has a bracket in its user or password",
    "mysql://me:geheim/x@h/shop": ESCAPES,
    "postgresql://me:geheim%zz@h/shop": "the password in the postgresql:// URL has a '%' that begins no escape",
    "amqp://me:geheim#x@h": ESCAPES,
    "amqp://h?management=http://me:geheim@h:1": ESCAPES,
    "redis://h/0#main": "the redis:// URL has a '#': write %23",
    "postgresql://h/shop#main": "the postgresql:// URL has a '#': write %23",
}


@pytest.mark.parametrize("url", MISTAKES)
def test_a_mistake_is_answered_by_what_to_write(url: str) -> None:
    """ConfigError, one line, the nearest thing that is understood, no password, and nothing chained that shows one."""
    with pytest.raises(ConfigError) as refused:
        open_timer(url, name="orders")
    assert MISTAKES[url] in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert "geheim" not in "".join(traceback.format_exception_only(refused.value))
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_c3_a_database_in_the_query_of_sentinels_is_not_dropped() -> None:
    """`redis+sentinel://…/mymaster?db=5` watched database 0 in silence. It is refused, and 0 is never assumed."""
    for opened in (open_timer, lambda url, name: open_watch(url, prefix=name)):
        with pytest.raises(ConfigError, match=r"no option 'db': write the number after the name, as /mymaster/5"):
            opened("redis+sentinel://localhost/mymaster?db=5", name="orders")
    assert form_of("redis+sentinel").read("redis+sentinel://localhost/mymaster/5").options["db"] == 5


@pytest.mark.parametrize("url", ["redis://h/1?db=5", "redis://h?db=five", "redis://h/1/2", "redis+cluster://h/5"])
def test_c3_a_database_is_used_or_refused_in_every_form(url: str) -> None:
    """redis-py reads these as 5, 0, 12 and an error of its own."""
    with pytest.raises(ConfigError):
        check_url(url)


def test_c4_a_mistyped_option_for_tls_is_no_traceback() -> None:
    """`ssl_cert_reqs=CERT_NONE` was a traceback at the first command. The three values are named."""
    with pytest.raises(ConfigError, match=r"must be none, optional or required; got 'CERT_NONE'"):
        open_timer("rediss://localhost?ssl_cert_reqs=CERT_NONE", name="orders")


@pytest.mark.parametrize("option", ["client_encoding=nonsense", "service=nowhere", "options=-c%20no_such=1"])
def test_a_value_that_only_the_server_can_judge_is_refused_by_it(postgres: PostgresServer, option: str) -> None:
    """A parameter of libpq with such a value is a refusal, for which no worker waits."""
    with open_timer(f"{postgres.url}&{option}", name="orders") as timer, pytest.raises(TimerRefused) as refused:
        timer.stats()
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("option", ["shards=4", "prefix=nick_"])
def test_an_option_of_timers_is_refused_where_keys_are_watched(option: str) -> None:
    """The watcher has one shard, and its prefix is an argument: the option would be ignored."""
    with pytest.raises(ConfigError, match=r"lapse watch|--prefix"):
        open_watch(f"redis://localhost?{option}", prefix="nick_")


def test_every_scheme_is_declared_and_no_other() -> None:
    """The schemes that open a timer are the schemes whose URLs are declared, with an example that is understood."""
    for scheme in MECHANISMS:
        form = form_of(scheme)
        assert form.read(form.example.partition(", or ")[0]).scheme == scheme
    words = {scheme.removeprefix("apscheduler+").partition("+")[0] for scheme in MECHANISMS}
    assert words == set(FORMS)
    assert set(ELSEWHERE.values()) <= set(MECHANISMS)
    assert not set(ELSEWHERE) & set(MECHANISMS)


def test_every_part_is_read() -> None:
    """User, password, hosts, ports, path and options, without escapes; and none of the secrets in the repr."""
    read = form_of("redis+sentinel").read(
        "REDIS+sentinel://me%40shop:p%2Fä%3A@[::1]:26379,host2/my%20master/5?sentinel_password=w%2Bx&shards=4"
    )
    assert (read.scheme, read.user, read.password) == ("redis+sentinel", "me@shop", "p/ä:")
    assert read.hosts == (Host("::1", 26379), Host("host2", None))
    wanted = {"service": "my master", "db": 5, "sentinel_password": "w+x", "shards": 4, "socket_timeout": 5.0}
    assert {name: read.options[name] for name in wanted} == wanted
    assert "p/ä" not in repr(read)
    assert "w+x" not in repr(read)
    assert "me@shop" not in repr(read)


SCHEMES = st.sampled_from(sorted(MECHANISMS))
SECRET = "geheimnis"
SPECIAL = st.text(alphabet="/?#@:%[]&=+ \\,;ä\x00\n\"'", max_size=4)
PARTS = st.text(alphabet="abz09/?#@:%[]&=+.,-_", max_size=12)
OPTIONS = st.sampled_from(sorted({name for scheme in MECHANISMS for name in form_of(scheme).options} | {"nothing"}))


def message_of(url: str) -> str:
    """Return what the URL is refused with, also what is chained; "" if it is understood."""
    try:
        check_url(url)
    except ConfigError as raised:
        error = raised
    else:
        return ""
    assert not isinstance(error, MissingLibrary)
    assert len(str(error).splitlines()) == 1
    return "".join(traceback.format_exception_only(error)) + repr(error.__cause__)


@given(url=st.text(max_size=40) | st.builds("{}://{}".format, SCHEMES, st.text(max_size=40) | PARTS))
@example("redis://[")
@example("http://[::1")
def test_no_text_raises_anything_but_configerror(url: str) -> None:
    """No exception of a library reaches the operator, for any text."""
    message_of(url)


@given(scheme=SCHEMES, before=SPECIAL, after=SPECIAL, user=st.sampled_from(["", "me"]), rest=PARTS)
def test_no_part_of_a_password_is_shown(scheme: str, before: str, after: str, user: str, rest: str) -> None:
    """With any characters unescaped, before any path and options, and also where the password stands as the user."""
    password = f"{SECRET}{before}{SECRET}{after}{SECRET}"
    for account in (f"{user}:{password}", password):
        assert SECRET not in message_of(f"{scheme}://{account}@host/{rest}")
        assert SECRET not in message_of(f"{scheme}://{account}@host:port/{rest}")


@given(scheme=SCHEMES, option=OPTIONS, value=SPECIAL)
def test_no_secret_of_an_option_is_shown(scheme: str, option: str, value: str) -> None:
    """Not of an option that is a password, and not of an option that is unknown."""
    if "password" in option or option == "nothing":
        assert SECRET not in message_of(f"{scheme}://host/1?{option}={SECRET}{value}")


@given(password=st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20))
def test_any_password_can_be_written(password: str) -> None:
    """With escapes, in the place before the host and in an option."""
    escaped = quote(password, safe="")
    url = f"redis+sentinel://me:{escaped}@host/mymaster?sentinel_password={escaped}"
    read = form_of(scheme_of(url)).read(url)
    assert (read.password, read.options["sentinel_password"]) == (password, password)
