"""`sidecar` as a process of its own: started, awaited by what it logs, ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import sidecar

PATIENCE_S = 60.0
CONFIG_VARIABLES = ("SIDECAR_", "REDIS_URL", "PROXY_API_KEY", "NO_COLOR")


class Running:
    """A `sidecar run`. `records` are the lines read so far."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.records: list[dict[str, Any]] = []

    async def line(self, msg: str) -> dict[str, Any]:
        """The next line with this message."""
        assert self._process.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            async for line in self._process.stderr:
                self.records.append(json.loads(line))
                if self.records[-1]["msg"] == msg:
                    return self.records[-1]
        raise AssertionError(f"it ended without {msg!r}: {self.records}")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code; what it still said is in `records`."""
        assert self._process.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            async for line in self._process.stderr:
                self.records.append(json.loads(line))
            return await self._process.wait()


def environ(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's, without what would change a config."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(CONFIG_VARIABLES) and not name.endswith("_API_KEY")
    }
    return kept | {"PYTHONPATH": str(Path(sidecar.__file__).parent.parent)} | dict(given or {})


@asynccontextmanager
async def running(
    folder: Path, config: Mapping[str, Any], *arguments: str, variables: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """`sidecar run` with a config (JSON is YAML), on ports that the system chooses where it says none."""
    ports = {"listen": "127.0.0.1:0", "ops_listen": "127.0.0.1:0"}
    (folder / "sidecar.yaml").write_text(json.dumps(ports | dict(config)))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", "run", *arguments),
        cwd=folder,
        env=environ(variables),
        stdin=DEVNULL,
        stderr=PIPE,
    )
    try:
        yield Running(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
