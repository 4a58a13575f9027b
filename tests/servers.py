"""A real Redis for tests: a container where a Docker engine answers, else a `redis-server` process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

BINARIES = ("redis-server", "valkey-server")


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisProcess:
    """A `redis-server` of our own on loopback, to be frozen, killed and started again on the same port."""

    def __init__(self, binary: str, *arguments: str) -> None:
        self.binary, self.arguments, self.port = binary, arguments, free_port()
        self._folder = tempfile.TemporaryDirectory()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket(self) -> Path:
        return Path(self._folder.name) / "redis.sock"

    def start(self) -> None:
        """Returns once it answers."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self._folder.name]
        options += ["--unixsocket", str(self.socket), *self.arguments]
        self._process = subprocess.Popen([self.binary, *options], stdout=subprocess.DEVNULL)
        client = redis.Redis(port=self.port)
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up and self._process.poll() is None:
            with suppress(redis.ConnectionError, redis.exceptions.BusyLoadingError):
                client.ping()
                client.close()
                return
            time.sleep(0.01)
        raise RuntimeError(f"{self.binary} does not answer on port {self.port}")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """Gone at once, with all that it held."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.kill()
        self._folder.cleanup()


def binary() -> str | None:
    """The server on the PATH, if any."""
    return next((found for name in BINARIES if (found := shutil.which(name))), None)


def unavailable(what: str) -> None:
    """Skips on a laptop, fails in CI: a green run there must have run everything."""
    message = f"{what}: install redis-server, or start a Docker engine"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def real_redis() -> Iterator[str]:
    """The URL of a real Redis that is ours alone."""
    url = _container_url()
    if url is not None:
        container, address = url
        with container:
            yield address()
        return
    with own_process("no real Redis") as process:
        yield process.url


@contextmanager
def own_process(missing: str, *arguments: str) -> Iterator[RedisProcess]:
    """A started `redis-server` of our own; `missing` says what there is not where no binary is."""
    found = binary()
    if found is None:
        unavailable(missing)
        raise AssertionError
    process = RedisProcess(found, *arguments)
    process.start()
    try:
        yield process
    finally:
        process.close()


def _container_url() -> tuple[Any, Callable[[], str]] | None:
    """A container and a function for its URL once it runs, or None where no engine answers."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        return None
    from testcontainers.redis import RedisContainer

    container = RedisContainer("redis:7-alpine")
    return container, lambda: f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"
