"""A folder with a config, an environment without settings, and the commands as functions."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from sidecar.cli import live, main
from sidecar.simulate.provider import StrictProvider

SECRETS = FIRST, SECOND = ("sk-0a1b2c3d4e5f60718293", "sk-ffeeddccbbaa99887766")
MANY = [f"sk-{number:04d}{uuid4().hex}" for number in range(3 * live.AT_ONCE)]

Command = Callable[..., Result]
Written = Callable[..., Path]


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("SIDECAR_") or name.endswith("_API_KEY") or name == "REDIS_URL":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """`run` takes the standard logging over; afterwards it is as before."""
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    level, access, raising = root.level, logging.getLogger("aiohttp.access").disabled, logging.raiseExceptions
    yield
    root.handlers = before
    root.setLevel(level)
    logging.getLogger("aiohttp.access").disabled, logging.raiseExceptions = access, raising
    logging.captureWarnings(False)


@pytest.fixture
def command() -> Command:
    """`command("check", "--config", file)`; its output is what both streams said."""
    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Writes ./sidecar.yaml with a pool of two keys on the memory store, and the fields given."""

    def write(pool: Mapping[str, Any] | None = None, **fields: Any) -> Path:
        chat = {
            "provider": "gemini",
            "keys": [{"id": "a", "secret": SECRETS[0], "account": "acme"}, {"id": "b", "secret": SECRETS[1]}],
            "limits": [{"requests": 15, "per": "minute"}, {"requests": 2, "per": "90s", "model": "gemini-2.5-pro"}],
        } | dict(pool or {})
        file = tmp_path / "sidecar.yaml"
        file.write_text(json.dumps({"redis": "memory", "pools": {"chat": chat}} | fields))
        return file

    return write


@pytest.fixture
async def provider() -> AsyncIterator[StrictProvider]:
    async with StrictProvider([FIRST, SECOND, *MANY], [(1, 60)]) as provider:
        yield provider


@pytest.fixture
def shared(redis_url: str) -> dict[str, str]:
    """A namespace of its own on a real Redis."""
    return {"redis": redis_url, "namespace": f"live-{uuid4().hex[:8]}"}
