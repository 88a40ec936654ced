"""A real, private RabbitMQ broker, for tests and demos."""

import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from lapse.testing import supervise
from lapse.testing.ports import free_port
from lapse.testing.private_server import READY_WITHIN, STOP_WITHIN, PrivateServer, ServerFailed
from lapse.testing.programs import find_programs
from lapse.testing.supervise import Supervised

FOLDERS = (Path("/usr/lib/rabbitmq/bin"), Path("/opt/rabbitmq/sbin"), Path("/usr/local/opt/rabbitmq/sbin"))
"""Where the broker's own scripts are. The script on the path may be a wrapper that becomes another user first."""

NODE = "lapse@localhost"

ADVANCED = "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 5000}]}].\n"
"""Milliseconds after which a queue passes a message on again that the next queue did not confirm, as happens when a
broker starts. Three minutes unless set."""


class RabbitMissing(ServerFailed):
    """RabbitMQ is not installed here."""


class RabbitServer(PrivateServer):
    """A private RabbitMQ on 127.0.0.1. A start takes some seconds.

    `config` has further lines of rabbitmq.conf. The broker runs as the user who starts it. With `management`, it serves
    the management plugin's API at `management_url`; there are no other plugins. Each broker has its own Erlang port
    mapper, so any number of brokers can run at once.

    Raises RabbitMissing if RabbitMQ is not installed, ServerFailed if the broker does not start.
    """

    NAME = "RabbitMQ"
    FILE_PREFIX = "rabbit"

    def __init__(
        self, directory: Path | None = None, *, config: Mapping[str, str] | None = None, management: bool = False
    ) -> None:
        self.scripts = rabbit_scripts()
        super().__init__(directory)
        self.password = secrets.token_hex(8)
        self.config = dict(config or {})
        self._management_port = free_port() if management else 0
        self._distribution_port = self._mapper_port = 0
        self._mapper: Supervised | None = None

    @property
    def url(self) -> str:
        """The address of the virtual host `/`."""
        return f"amqp://lapse:{self.password}@127.0.0.1:{self.port}"

    @property
    def management_url(self) -> str:
        """The address of the management plugin's API. Raises ServerFailed for a broker without the plugin."""
        if not self._management_port:
            raise ServerFailed("this broker has no management plugin: start it with RabbitServer(management=True)")
        return f"http://127.0.0.1:{self._management_port}"

    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` on this broker and return its output. Raises ServerFailed where the command fails."""
        done = subprocess.run(
            [str(self.scripts / "rabbitmqctl"), "--quiet", "--node", NODE, *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=READY_WITHIN,
            check=False,
        )
        if done.returncode:
            raise ServerFailed(f"rabbitmqctl {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _prepare(self) -> None:
        """Keep the account's password with the data: the broker makes the account at its first start only."""
        file = self.directory / "password"
        if file.exists():
            self.password = file.read_text()
        file.touch(mode=0o600)
        file.write_text(self.password)

    def _command(self) -> Sequence[str]:
        return [str(self.scripts / "rabbitmq-server")]

    def _launch(self, log: IO[bytes]) -> Supervised:
        if not self._mapper_port:
            self._distribution_port, self._mapper_port = free_port(), free_port()
        # Without a port mapper the broker would start one, which would outlive the broker.
        self._mapper = supervise.start([_epmd(), "-port", str(self._mapper_port)], output=log, keep=self._lock)
        return supervise.start(
            self._command(),
            output=log,
            grace=STOP_WITHIN,
            environment=self._environment(),
            directory=self.directory,
            keep=self._lock,
        )

    def _end(self, number: signal.Signals) -> None:
        super()._end(number)
        if self._mapper is not None:
            self._mapper.end(signal.SIGKILL, STOP_WITHIN)  # each start registers its node with a new mapper
            self._mapper = None

    def _environment(self) -> dict[str, str]:
        settings = {
            "listeners.tcp.1": f"127.0.0.1:{self.port}",
            "default_user": "lapse",
            "default_pass": self.password,
            "vm_memory_high_watermark.absolute": "1GiB",
            "disk_free_limit.absolute": "50MB",
            "raft.wal_max_size_bytes": str(32 << 20),  # kept in memory until it is full: 512 MB unless set
            **self.config,
        }
        if self._management_port:
            settings |= {"management.tcp.ip": "127.0.0.1", "management.tcp.port": str(self._management_port)}
        config = self.directory / "rabbitmq.conf"
        config.touch(mode=0o600)
        config.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        advanced = self.directory / "advanced.config"
        advanced.write_text(ADVANCED)
        plugins = self.directory / "enabled_plugins"
        plugins.write_text("[rabbitmq_management].\n" if self._management_port else "[].\n")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ_")}
        return inherited | {
            "HOME": str(self.directory),  # Erlang keeps its cookie there
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(advanced),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_NODENAME": NODE,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",  # no spinning when idle
            "RUNNING_UNDER_SYSTEMD": "true",  # the script turns into the broker, instead of waiting for it
        }

    def _is_ready(self) -> bool:
        """Return whether the broker sends its greeting: its listener is the last part that starts."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(b"AMQP\0\0\x09\x01")
            connection.settimeout(5)
            greeting = connection.recv(65536)
            if greeting[:1] == b"\x01":  # a frame with a method: Connection.Start, with the broker's properties
                _, _, version = greeting.partition(b"\x07versionS")
                self.version = version[4 : 4 + int.from_bytes(version[:4])].decode()
                return self.running
        return False


def rabbit_scripts() -> Path:
    """Return the folder with the broker's scripts. Raises RabbitMissing where there is none."""
    for script in find_programs("rabbitmq-server", FOLDERS):
        return script.parent
    raise RabbitMissing("there is no RabbitMQ: install it, on Debian by apt-get install rabbitmq-server")


def _epmd() -> str:
    for program in find_programs("epmd", os.get_exec_path()):
        return str(program)
    raise RabbitMissing("there is no epmd: it comes with Erlang, on Debian by apt-get install rabbitmq-server")
