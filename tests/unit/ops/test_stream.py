"""Whoever listens is told of each change of state, and nobody who listens is waited for."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sidecar.model.events import KeyChanged, KeyManaged, LimitsNamed, Reloaded, StoreChanged
from sidecar.model.outcomes import NamedLimit
from sidecar.ops import stream
from tests.unit.ops.planes import FILE, Plane, Start
from tests.unit.ops.worlds import drifted


async def frames(answer: aiohttp.ClientResponse, count: int) -> list[tuple[str, Any]]:
    """The next events: their name and data."""
    found: list[tuple[str, Any]] = []
    name = ""
    while len(found) < count:
        line = (await answer.content.readline()).decode().rstrip("\n")
        assert not answer.content.at_eof() or line, f"it ended after {found}"
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            found.append((name, json.loads(line.removeprefix("data: "))))
    return found


async def test_every_change_of_state_is_on_the_stream_as_json(start: Start) -> None:
    plane = await start()
    async with plane.http.get("/admin/v1/events") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert await answer.content.readline() == b": sidecar events\n"
        plane.replica.emit(KeyChanged("chat", "b", "gpt-4o", "rate_limit_day", 60.0, True, "r1"))
        plane.replica.emit(StoreChanged(up=False, reason="gone"))
        await plane.ask("POST", "/keys/b/disable")
        await plane.ask("POST", "/reload")
        plane.replica.emit(LimitsNamed("chat", "b", "gpt-4o", (NamedLimit("tokens", "minute", 900),)))  # changes none
        plane.replica.emit(drifted(named=NamedLimit("requests", "minute", 4)))
        told = await frames(answer, 5)
    assert [name for name, _ in told] == ["key_changed", "store_changed", "key_managed", "reloaded", "drifted"]
    assert all(data["event"] == name and data["time"].endswith("Z") for name, data in told)
    first = {"pool": "chat", "key": "b", "model": "gpt-4o", "reason": "rate_limit_day", "seconds": 60.0, "proved": True}
    assert first.items() <= told[0][1].items()
    assert (told[2][1]["key"], told[2][1]["change"]) == ("b", "disabled")
    ours = {"unit": "requests", "per": "minute", "model": "", "max": 10}
    assert (told[4][1]["limits"], told[4][1]["named"]) == ([ours], ours | {"max": 4})


async def test_a_secret_on_the_stream_is_told_by_its_id_and_ids_as_they_are(start: Start) -> None:
    plane = await start()
    plane.stream.redact = lambda text: text.replace("b", "(hidden)")
    async with plane.http.get("/admin/v1/events") as answer:
        await answer.content.readline()
        plane.replica.emit(KeyManaged("chat", "b", "disabled", "bob"))
        ((_, data),) = await frames(answer, 1)
    assert (data["key"], data["by"]) == ("b", "(hidden)o(hidden)")


async def test_silence_is_broken_by_a_comment(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.01)
    plane = await start()
    async with plane.http.get("/admin/v1/events") as answer:
        while await answer.content.readline() != b": heartbeat\n":
            pass


async def test_a_listener_that_is_too_slow_is_told_so_and_dropped(start: Start) -> None:
    """The others miss nothing."""
    plane = await start()
    async with plane.http.get("/admin/v1/events") as slow:
        await slow.content.readline()
        for number in range(stream.MOST_QUEUED + 1):
            plane.replica.emit(StoreChanged(up=False, reason=str(number)))
        ((name, data),) = await frames(slow, 1)
        assert name == "dropped"
        assert "Connect again" in data["message"]
        assert await slow.content.read() == b"\n"
    async with plane.http.get("/admin/v1/events") as quick:
        await quick.content.readline()
        plane.replica.emit(StoreChanged(up=True))
        assert (await frames(quick, 1))[0][0] == "store_changed"


async def test_the_stream_ends_with_the_replica(start: Start) -> None:
    plane = await start()
    async with plane.http.get("/admin/v1/events") as answer:
        await answer.content.readline()
        plane.replica.emit(StoreChanged(up=True))
        plane.stream.end()
        assert [name for name, _ in await frames(answer, 2)] == ["store_changed", "ended"]
        assert await answer.content.read() == b"\n"
    async with plane.http.get("/admin/v1/events") as late:
        assert [name for name, _ in await frames(late, 1)] == ["ended"]


async def _left(plane: Plane) -> None:
    """Until nobody listens any more."""
    async with asyncio.timeout(10):
        while plane.stream._listeners:
            await plane.ask("GET", "/config")


@pytest.mark.parametrize("speaks", [False, True])
async def test_a_listener_that_goes_is_forgotten_at_once_and_is_no_error(
    speaks: bool, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether it goes in silence, or while it is told something."""
    plane = await start()
    async with plane.http.get("/admin/v1/events") as answer:
        await answer.content.readline()
        if speaks:
            answer.close()
            plane.replica.emit(StoreChanged(up=True))
    await _left(plane)
    plane.replica.emit(StoreChanged(up=True))
    assert await plane.ask("GET", "/keys")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_write_to_a_listener_that_has_just_gone_is_no_error(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def gone(*_: object) -> None:
        raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")

    plane = await start()
    monkeypatch.setattr(stream, "_write", gone)
    async with plane.http.get("/admin/v1/events") as answer:
        await answer.content.read()
    await _left(plane)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_head_of_the_stream_ends_at_once(start: Start) -> None:
    plane = await start()
    async with asyncio.timeout(10), plane.http.head("/admin/v1/events") as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
    assert (await plane.ask("GET", "/config"))[0] == 200


async def test_what_is_asked_to_be_done_is_done_though_the_asker_goes(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reading of the config that is torn in two would never be told of, and a change in it would be lost."""
    plane = await start()
    began, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()
    reload = plane.replica.reload

    async def slow(cause: str) -> Reloaded:
        began.set()
        await go_on.wait()
        told: Reloaded = await reload(cause)
        done.set()
        return told

    monkeypatch.setattr(plane.replica, "reload", slow)
    (tmp_path / "sidecar.yaml").write_text(FILE.replace("1500ms", "2s"))
    asking = asyncio.create_task(plane.ask("POST", "/reload"))
    await began.wait()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await plane.ask("GET", "/config")  # by now it is known that the asker has gone
    go_on.set()
    async with asyncio.timeout(10):
        await done.wait()
    assert plane.replica.state.config.pools["chat"].max_wait_us == 2_000_000
