"""Each kind of store, and Stores on it that must leave nothing behind."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import fakeredis
import pytest
import redis

from sidecar.model.events import Event, StoreChanged
from sidecar.store import connect, lanes, memory
from sidecar.store.commands import Store
from sidecar.store.connect import Opener
from tests.servers import RedisProcess, binary, free_port, unavailable

KINDS = ("memory", "redis", "unix", "rediss")


@dataclass(frozen=True)
class Place:
    """Where a Store may be opened, and a plain client that looks at the same data."""

    kind: str
    open: Opener
    raw: redis.Redis


class Witness:
    """A Store on a place, with what it emitted."""

    def __init__(self, opener: Opener, namespace: str = "test") -> None:
        self.events: list[Event] = []
        self.store = Store(opener, namespace, self.events.append)

    @property
    def emptied(self) -> int:
        return sum(isinstance(event, StoreChanged) and event.emptied for event in self.events)

    @property
    def ups(self) -> list[bool]:
        return [event.up for event in self.events if isinstance(event, StoreChanged) and not event.emptied]


OpenStore = Callable[..., Witness]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its private key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=sidecar tests", "-addext", "subjectAltName=IP:127.0.0.1"]
    new = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run([*new, *subject, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    return files


@pytest.fixture(scope="session")
def tls_url(certificate: tuple[Path, Path]) -> Iterator[str]:
    """A real Redis behind TLS."""
    cert, key = certificate
    port = free_port()
    files = ["--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-ca-cert-file", str(cert)]
    process = _process("--tls-port", str(port), "--tls-auth-clients", "no", *files)
    try:
        process.start()
    except RuntimeError:
        process.close()
        pytest.skip(f"{process.binary} was built without TLS")
    yield f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={cert}"
    process.close()


@pytest.fixture(scope="session")
def unix_url() -> Iterator[str]:
    """A real Redis behind a Unix socket."""
    process = _process()
    process.start()
    yield f"unix://{process.socket}"
    process.close()


def _process(*arguments: str) -> RedisProcess:
    found = binary()
    if found is None:
        unavailable("no redis-server process")
        raise AssertionError
    return RedisProcess(found, *arguments)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Every kind of store, empty."""
    yield from _place(request.param, request)


@pytest.fixture
def real(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A real Redis, empty."""
    yield from _place("redis", request)


def _place(kind: str, request: pytest.FixtureRequest) -> Iterator[Place]:
    if kind == "memory":
        opener = memory.opener()
        yield Place(kind, opener, fakeredis.FakeRedis(server=opener()._server))  # type: ignore[attr-defined]
        return
    url = request.getfixturevalue({"redis": "redis_url", "unix": "unix_url", "rediss": "tls_url"}[kind])
    with redis.Redis.from_url(url) as raw:
        raw.flushall()
        yield Place(kind, connect.opener(url), raw)


@pytest.fixture
async def open_store() -> AsyncIterator[OpenStore]:
    """Opens Stores; afterwards they are closed and no task of theirs is left."""
    witnesses: list[Witness] = []

    def opened(opener: Opener, namespace: str = "test") -> Witness:
        witnesses.append(Witness(opener, namespace))
        return witnesses[-1]

    before = asyncio.all_tasks()
    yield opened
    for witness in witnesses:
        await witness.store.close()
    assert asyncio.all_tasks() - before <= {asyncio.current_task()}


@pytest.fixture
def store(place: Place, open_store: OpenStore) -> Store:
    """A Store on every kind of store."""
    return open_store(place.open).store


@pytest.fixture
def short_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen Redis is noticed sooner than in production, and one that is back is found sooner."""
    monkeypatch.setattr(connect, "CALL_S", 0.3)
    monkeypatch.setattr(lanes, "LAST_RETRY_S", 0.05)
