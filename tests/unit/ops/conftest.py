"""The ops plane on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from sidecar.config.watch import Source
from sidecar.model.events import Event
from sidecar.ops import app
from sidecar.ops.metrics import Metrics
from sidecar.ops.stream import Stream
from sidecar.replica import Replica
from sidecar.store.commands import Store
from tests.unit.ops.planes import FILE, Plane, Start


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """`start(text)`: a replica of this file and its ops plane, on the loopback whatever `ops_listen` says."""
    async with AsyncExitStack() as stack:

        async def started(text: str = FILE) -> Plane:
            (tmp_path / "sidecar.yaml").write_text(text)
            source = Source(None, {}, tmp_path)
            events: list[Event] = []
            changes = Stream(str)

            def emit(event: Event) -> None:
                events.append(event)
                changes(event)

            config = source.load()
            replica = Replica(config, Store.at("memory", config.namespace, emit), emit, source)
            stack.push_async_callback(replica.close)
            await replica.start()
            runner = web.ServerRunner(app.server(replica, app.pages(replica, Metrics(config)), changes))
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            stack.callback(changes.end)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            http = await stack.enter_async_context(aiohttp.ClientSession(url))
            return Plane(replica, events, changes, http)

        yield started
