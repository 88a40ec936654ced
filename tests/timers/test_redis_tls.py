"""Redis by TLS: what a server without TLS, and a certificate that is not trusted, are called."""

from collections.abc import Iterator

import pytest

from lapse import Deadline, TimerUnavailable, open_timer
from lapse.testing.conformance import ago, keys_of
from lapse.testing.ports import free_port
from lapse.testing.servers import RedisServer
from tests.certificate import Certificate, sign_for_localhost
from tests.each_redis import WITH_TLS, redis_named


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Sign a certificate for the server."""
    return sign_for_localhost(tmp_path_factory.mktemp("redis"))


@pytest.fixture(scope="module")
def tls_port(certificate: Certificate) -> Iterator[int]:
    """Start a server that takes TLS at another port as well."""
    port = free_port()
    files = {"tls-cert-file": str(certificate.file), "tls-key-file": str(certificate.key)}
    config = {"tls-port": str(port), "tls-auth-clients": "no", **files}
    with RedisServer(binary=redis_named(WITH_TLS), config=config):
        yield port


@pytest.mark.parametrize("scheme", ["rediss", "rediss+expiry"])
def test_by_tls(tls_port: int, certificate: Certificate, timer_name: str, scheme: str) -> None:
    """A timer works through TLS where the certificate's host is named and its authority is trusted."""
    with open_timer(f"{scheme}://localhost:{tls_port}?ssl_ca_certs={certificate.file}", name=timer_name) as timer:
        timer.arm([Deadline("1", ago(5))])
        assert keys_of(timer.claim()) == ["1"]


@pytest.mark.parametrize("host", ["localhost", "127.1"])
def test_a_certificate_that_is_not_trusted(tls_port: int, certificate: Certificate, host: str) -> None:
    """An unknown authority, or a host name that the certificate lacks, such as 127.1, was shown without a remedy."""
    query = "" if host == "localhost" else f"?ssl_ca_certs={certificate.file}"
    with (
        open_timer(f"rediss://{host}:{tls_port}{query}", name="orders") as timer,
        pytest.raises(TimerUnavailable, match=r"certificate verify failed.*; write the host's name .* ssl_ca_certs="),
    ):
        timer.stats()


def test_a_server_without_tls_is_asked_for_tls(redis_server: RedisServer) -> None:
    """The handshake's time-out was shown as a server that does not answer, with no word about TLS."""
    with (
        open_timer(f"{redis_server.url}?socket_timeout=0.5".replace("redis", "rediss", 1), name="orders") as timer,
        pytest.raises(TimerUnavailable, match=r"there is no TLS at this port: .* write redis:// for rediss://"),
    ):
        timer.stats()
