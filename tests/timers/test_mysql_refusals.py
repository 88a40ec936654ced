"""The URLs, accounts and servers that MySQL's timer refuses, with a message that says what to do, or accepts."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pymysql
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lapse import ConfigError, Deadline, TimerRefused, TimerUnavailable, open_timer
from lapse.testing.conformance import ago
from lapse.testing.ports import free_port
from lapse.testing.servers import MariaDbServer
from lapse.timers.sql.mysql import MysqlTimer
from lapse.timers.sql.mysql_address import settings_of
from tests.timers.databases import NEEDS_MARIADB

needs_mariadb = NEEDS_MARIADB


@pytest.mark.parametrize(
    "url",
    [
        "mysql://",
        "mysql://localhost",
        "mysql://localhost/",
        "mysql://localhost/a/b",
        "mysql://localhost/a#b",
        "mysql://localhost:port/a",
        "mysql://localhost/a?no_such=1",
        "mysql://localhost/a?nothing",
        "mysql://localhost/a?read_timeout=0",
        "mysql://localhost/a?read_timeout=soon",
        "mysql://localhost/a?ssl_verify_cert=perhaps",
        "mysql://localhost/a?ssl_ca=",
        "mariadb://localhost/",
    ],
)
def test_odd_urls_are_refused(url: str) -> None:
    """A URL with a part that would be ignored or misread is refused before a connection is opened."""
    with pytest.raises(ConfigError, match="URL"):
        open_timer(url, name="orders")


def test_a_wrong_url_keeps_its_password() -> None:
    """The message about a wrong URL does not contain the password."""
    with pytest.raises(ConfigError) as caught:
        open_timer("mysql://user:secret@localhost:x/y", name="orders")
    assert "secret" not in str(caught.value)


def test_a_url_says_it_all() -> None:
    """User, password, host, port, database and options are read from the URL."""
    url = "mariadb://the%40user:p%2Fä@[::1]:3307/my%20shop?unix_socket=/run/db.sock&ssl_disabled=true&read_timeout=2.5"
    assert settings_of(url) == {
        "user": "the@user",
        "password": "p/ä".encode(),
        "host": "::1",
        "port": 3307,
        "database": "my shop",
        "unix_socket": "/run/db.sock",
        "ssl_disabled": True,
        "connect_timeout": 5.0,
        "read_timeout": 2.5,
        "write_timeout": 10.0,
    }


@needs_mariadb
def test_unreachable_is_not_refused(mariadb: MariaDbServer, tmp_path: Path) -> None:
    """A missing server is temporary. A missing database, account or certificate is final."""
    with (
        open_timer(f"mysql://root@127.0.0.1:{free_port()}/lapse", name="orders") as timer,
        pytest.raises(TimerUnavailable),
    ):
        timer.stats()
    for url in (
        mariadb.url_of("nowhere"),
        mariadb.url.replace("root@", "root:wrong@"),
        mariadb.url.replace("root@", "nobody@"),
        f"{mariadb.url}?ssl_ca={tmp_path}/none.pem",
    ):
        with open_timer(url, name="orders") as timer, pytest.raises(TimerRefused) as caught:
            timer.stats()
        assert "wrong" not in str(caught.value)


@needs_mariadb
def test_an_account_without_rights_is_refused(mariadb: MariaDbServer, timer_name: str) -> None:
    """An account that may not use or create the table is refused. The rights that the message names are enough."""
    with open_timer(mariadb.url, name=timer_name) as timer:
        timer.stats()
    with pymysql.connect(**settings_of(mariadb.url)) as admin, admin.cursor() as cursor:
        cursor.execute("CREATE DATABASE bare")
        cursor.execute("CREATE USER stranger@'127.0.0.1' IDENTIFIED BY 'päss'")
        cursor.execute("GRANT SELECT ON bare.* TO stranger@'127.0.0.1'")
        cursor.execute("GRANT SELECT ON lapse.lapse_deadline TO stranger@'127.0.0.1'")
        stranger = mariadb.url.replace("root@", "stranger:p%C3%A4ss@")
        for url in (stranger, stranger.replace("/lapse", "/bare")):
            with open_timer(url, name=timer_name) as refused, pytest.raises(TimerRefused, match="grant SELECT"):
                refused.arm([Deadline("1", ago(1))])
        cursor.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON lapse.lapse_deadline TO stranger@'127.0.0.1'")
    with open_timer(stranger, name=timer_name) as timer:
        timer.arm([Deadline("1", ago(1))])
        assert timer.generation()
        assert all("lapse_deadline" not in finding.text for finding in timer.check())
        assert timer.settle(timer.claim()) == 1


@needs_mariadb
@pytest.mark.parametrize("version", ["10.5.29-MariaDB", "5.7.44"])
def test_an_old_server_is_refused(version: str) -> None:
    """For a server with an older version the message names the version that is needed."""
    with (
        MariaDbServer(config={"version": version}) as server,
        open_timer(server.url, name="orders") as timer,
        pytest.raises(TimerRefused, match=r"too old: .* MariaDB 10\.6, MySQL 8\.0"),
    ):
        timer.stats()


@needs_mariadb
def test_a_durable_server_is_fit() -> None:
    """The check of a server with default settings says that deadlines survive a crash."""
    with MariaDbServer(durable=True) as server, open_timer(server.url, name="orders") as timer:
        first, second = timer.check()
        assert (first.fit, second.fit) == (True, True)
        assert "MariaDB" in first.text
        assert "survives" in second.text


@needs_mariadb
def test_the_check_finds_what_is_unfit() -> None:
    """The check names a log of statements, small packets and an unsafe engine. With such a log, writing fails."""
    config = {"log-bin": "log", "server-id": "7", "binlog-format": "STATEMENT", "max-allowed-packet": "1M"}
    with MariaDbServer(config=config) as server, open_timer(server.url, name="orders") as timer:
        timer.stats()
        with pymysql.connect(**settings_of(server.url)) as admin:
            admin.cursor().execute("ALTER TABLE lapse_deadline ENGINE = Aria")
        unfit = " / ".join(finding.text for finding in timer.check() if not finding.fit)
        for name in ("binlog_format", "max_allowed_packet", "Aria", "innodb_doublewrite"):
            assert name in unfit
        with pymysql.connect(**settings_of(server.url)) as admin:
            admin.cursor().execute("ALTER TABLE lapse_deadline ENGINE = InnoDB")
        with pytest.raises(TimerRefused, match=r"(?i)binlog_format"):
            timer.arm([Deadline("1", ago(1))])


@needs_mariadb
def test_by_unix_socket(mariadb: MariaDbServer, timer_name: str) -> None:
    """The URL has the socket's path in its query."""
    with open_timer(f"mariadb://root@localhost/lapse?unix_socket={mariadb.socket}", name=timer_name) as timer:
        assert isinstance(timer, MysqlTimer)
        assert timer.stats().pending == 0


@needs_mariadb
def test_by_tls(tmp_path: Path) -> None:
    """The server's certificate is verified if the URL asks for it. An unknown certificate is refused."""
    for name in ("server", "stranger"):
        _certify(tmp_path, name)
    config = {
        "ssl-cert": f"{tmp_path}/server.pem",
        "ssl-key": f"{tmp_path}/server.key",
        "require-secure-transport": "ON",
    }
    with MariaDbServer(config=config) as server:
        checked = f"{server.url}?ssl_verify_cert=true&ssl_verify_identity=true&ssl_ca={tmp_path}"
        with open_timer(f"{checked}/server.pem", name="orders") as timer:
            assert timer.stats().pending == 0
        with open_timer(f"{checked}/stranger.pem", name="orders") as timer, pytest.raises(TimerRefused, match="verify"):
            timer.stats()
        with open_timer(f"{server.url}?ssl_disabled=true", name="orders") as timer, pytest.raises(TimerRefused):
            timer.stats()


def _certify(folder: Path, name: str) -> None:
    """Make a self-signed certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
