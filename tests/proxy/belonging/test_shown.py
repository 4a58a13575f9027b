"""No client reads what an account made before Redis knows whose it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest

from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from sidecar.store.connect import StoreAway
from sidecar.store.made import Maker
from tests.proxy.belonging.things import asking, upload
from tests.proxy.plane import Plane, Reply


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_no_client_reads_an_id_before_redis_knows_it(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    """Its next call may come to another replica at once."""
    made, told, go_on = plane.replica.store.made, list[str](), asyncio.Event()
    add = made.add

    async def slow(maker: Maker, things: Mapping[str, int]) -> Mapping[str, Maker]:
        await go_on.wait()
        others = await add(maker, things)
        told.extend(things)
        return others

    monkeypatch.setattr(made, "add", slow)
    body = json.dumps({"model": "gpt-4o", "input": "hi", "stream": stream}).encode()
    async with asyncio.TaskGroup() as tasks:
        reply: asyncio.Task[Reply] = tasks.create_task(plane.post("/v1/responses", body))
        await plane.entered()
        _, pending = await asyncio.wait([reply], timeout=0.2)
        assert pending  # nothing has come, although the provider has said it all
        go_on.set()
    assert reply.result().status == 200
    assert {thing.partition("_")[0] for thing in told} == {"resp", "msg"}
    assert all(f'"{thing}"'.encode() in reply.result().body for thing in told)


SEALED = "gAAAAABo" + "x" * 300
WORD = {"type": "response.output_text.delta", "delta": "Hi"}
THOUGHT = {"type": "response.output_item.done", "item": {"type": "reasoning", "encrypted_content": SEALED}}
LAST = {"type": "response.completed", "response": {"status": "completed"}}


async def test_nor_what_a_stream_shows_at_its_end(
    plane: Plane, provider: StrictProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was thought stands behind the first words, which are not held back for it."""
    made, go_on = plane.replica.store.made, asyncio.Event()
    add = made.add

    async def slow(maker: Maker, things: Mapping[str, int]) -> Mapping[str, Maker]:
        await go_on.wait()
        return await add(maker, things)

    monkeypatch.setattr(made, "add", slow)
    events = "".join(f"data: {json.dumps(event)}\n\n" for event in (WORD, THOUGHT, LAST))
    head = {"Content-Type": "text/event-stream"}
    provider.faults.append(Fault(status=200, body=events, headers=head, hold=True))
    asked = {"model": "o3", "input": "hi", "stream": True, "store": False}
    async with plane.http.post(f"{plane.url}/v1/responses", json=asked) as reply:
        came = await reply.content.readuntil(b"\n\n")
        assert b"output_text.delta" in came
        provider.release()
        rest = asyncio.create_task(reply.content.read())
        _, pending = await asyncio.wait([rest], timeout=0.2)
        assert pending
        assert not await made.makers({f"~{SEALED[:256]}": 0})
        go_on.set()
        assert SEALED.encode() in await rest
    assert await made.makers({f"~{SEALED[:256]}": 0})


async def test_an_answer_is_not_lost_with_redis(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What could not be remembered is logged, and the client has its file."""

    async def away(*_: object) -> None:
        raise StoreAway("gone")

    monkeypatch.setattr(plane.replica.store.made, "add", away)
    file, _ = await upload(plane)
    assert f"not remembered which account made {file}: gone" in caplog.text


async def test_what_is_named_waits_for_redis_as_for_room(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, provider: StrictProvider
) -> None:
    """With any other key it would fail, so nobody guesses while Redis cannot tell."""

    async def away(*_: object) -> None:
        raise StoreAway("gone")

    file, _ = await upload(plane)
    made = len(provider.arrivals)
    monkeypatch.setattr(plane.replica.store.made, "makers", away)
    plane.replica.store.up.clear()
    refused = await plane.chat(**asking(file))
    plane.replica.store.up.set()
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    assert len(provider.arrivals) == made
