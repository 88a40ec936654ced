"""A real, private RabbitMQ broker, for tests and demos."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.testing import supervise
from lapse.testing.redis_server import ServerFailed, free_port, lock_directory

READY_WITHIN = 120.0
"""Seconds that a broker may take to recover its queues and listen."""

STOP_WITHIN = 30.0
"""Seconds that a broker may take to end after SIGTERM, before it is killed."""

HOMES = (Path("/usr/lib/rabbitmq/bin"), Path("/opt/rabbitmq/sbin"), Path("/usr/local/opt/rabbitmq/sbin"))
"""Where the broker's own scripts are. The one on the path may be a wrapper that becomes another user first."""


ADVANCED = "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 5000}]}].\n"
"""Milliseconds after which a queue passes a message on again that the next one did not confirm, as happens when a
broker starts. Three minutes unless set."""


class RabbitMissing(ServerFailed):
    """RabbitMQ is not installed here."""


class RabbitServer:
    """A RabbitMQ of one's own on 127.0.0.1, started by `with` or `start()`, gone when this process is gone.

    `directory` keeps the broker's files, and with them its data over restarts; where none is given, a temporary one
    is made and removed by `close()`. The ports are free ones and stay the same over restarts. `config` has further
    lines of rabbitmq.conf. The broker runs as whoever starts it, with no plugins, and with an Erlang port mapper of
    its own, so any number of them can run at once.

    Raises RabbitMissing where there is no RabbitMQ, ServerFailed where it does not start.
    """

    def __init__(self, directory: Path | None = None, *, config: Mapping[str, str] | None = None) -> None:
        self.scripts = rabbit_scripts()
        self.password = secrets.token_hex(8)
        self.version = ""
        self.port = 0
        self._own = tempfile.mkdtemp(prefix="lapse-rabbit-") if directory is None else None
        self.directory = Path(self._own or directory or "").resolve()
        self.log = self.directory / "rabbit.log"
        self.config = dict(config or {})
        self._distribution = self._mapping = 0
        self._mapper: supervise.Leashed | None = None
        self._leash: supervise.Leashed | None = None
        self._lock: int | None = None

    @property
    def url(self) -> str:
        """The address of the virtual host `/`."""
        return f"amqp://lapse:{self.password}@127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the process lives, frozen or not."""
        return self._leash is not None and self._leash.running

    @property
    def pid(self) -> int:
        """The number of the broker's process. Raises ServerFailed where none was started."""
        if self._leash is None:
            raise ServerFailed("the RabbitMQ broker was not started")
        return self._leash.child

    def start(self) -> Self:
        """Start the broker and return once it takes connections. Does nothing where it runs. It takes some seconds."""
        if self.running:
            return self
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = lock_directory(self.directory / "rabbit.lock", STOP_WITHIN)
        if not self.port:
            self.port, self._distribution, self._mapping = free_port(), free_port(), free_port()
            self._remember()
        with self.log.open("wb") as log:
            # Else the broker would start a port mapper of its own, which stays behind.
            self._mapper = supervise.start([_program("epmd"), "-port", str(self._mapping)], output=log, keep=self._lock)
            self._leash = supervise.start(
                [str(self.scripts / "rabbitmq-server")],
                output=log,
                grace=STOP_WITHIN,
                environment=self._environment(),
                directory=self.directory,
                keep=self._lock,
            )
        end = SYSTEM_CLOCK.monotonic() + READY_WITHIN
        while self.running and SYSTEM_CLOCK.monotonic() < end:
            if self._is_ready():
                return self
            SYSTEM_CLOCK.sleep(0.05)
        message = f"RabbitMQ did not start on port {self.port}:\n{self._log_tail()}"
        self.close()
        raise ServerFailed(message)

    def stop(self) -> None:
        """End it as an operator would, by SIGTERM; by SIGKILL where that takes too long."""
        if self.running:
            self.thaw()
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once by SIGKILL, as a crash would. What was confirmed is recovered by `start()`."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it and start it again on the same port, with its data."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Let it hang, as a machine that swaps: connections stay open, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` on this broker and return what it prints. Raises ServerFailed where that fails."""
        answer = subprocess.run(
            [str(self.scripts / "rabbitmqctl"), "--quiet", "--node", self._node, *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=READY_WITHIN,
            check=False,
        )
        if answer.returncode:
            raise ServerFailed(f"rabbitmqctl {' '.join(arguments)} failed:\n{answer.stdout}{answer.stderr}")
        return answer.stdout

    def close(self) -> None:
        """Stop it and remove its directory, if that was made here."""
        self.stop()
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _node(self) -> str:
        return "lapse@localhost"

    def _remember(self) -> None:
        """Keep the account with the data: it is made at the first start only."""
        file = self.directory / "password"
        if file.exists():
            self.password = file.read_text()
        file.touch(mode=0o600)
        file.write_text(self.password)

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
        config = self.directory / "rabbitmq.conf"
        config.touch(mode=0o600)
        config.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        advanced = self.directory / "advanced.config"
        advanced.write_text(ADVANCED)
        plugins = self.directory / "enabled_plugins"
        plugins.write_text("[].\n")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ_")}
        return inherited | {
            "HOME": str(self.directory),  # Erlang keeps its cookie there
            "ERL_EPMD_PORT": str(self._mapping),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(advanced),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",  # no spinning when idle
            "RUNNING_UNDER_SYSTEMD": "true",  # the script turns into the broker, instead of waiting for it
        }

    def _is_ready(self) -> bool:
        """Whether it greets. Its listener is the last thing that starts."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as greeting:
            greeting.sendall(b"AMQP\0\0\x09\x01")
            greeting.settimeout(5)
            said = greeting.recv(65536)
            if said[:1] == b"\x01":  # a frame with a method: Connection.Start, with the broker's properties
                _, _, version = said.partition(b"\x07versionS")
                self.version = version[4 : 4 + int.from_bytes(version[:4])].decode()
                return self.running
        return False

    def _end(self, number: signal.Signals) -> None:
        if self._leash is not None:
            self._leash.end(number, STOP_WITHIN)
            self._leash = None
        if self._mapper is not None:
            self._mapper.end(signal.SIGKILL, STOP_WITHIN)  # it knows nothing that the next would not be told
            self._mapper = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:]) if self.log.exists() else "no log"


def rabbit_scripts() -> Path:
    """Find the folder with the broker's scripts. Raises RabbitMissing where there is none."""
    for folder in HOMES:
        if os.access(folder / "rabbitmq-server", os.X_OK):
            return folder
    raise RabbitMissing("there is no RabbitMQ: install it, on Debian by apt-get install rabbitmq-server")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise RabbitMissing(f"there is no {name}: it comes with Erlang, on Debian by apt-get install rabbitmq-server")
    return found
