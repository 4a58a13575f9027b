"""Events that are too long to be kept, as those with an image are: read at both ends, and passed as they are."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from sidecar.model.events import Attempted
from sidecar.providers import objects, sse
from sidecar.providers.tails import TAIL_BYTES
from tests.proxy.plane import Plane, Reply, new_keys, pool, sidecar
from tests.proxy.raw import Answer, Exchange, RawUpstream
from tests.proxy.test_last_words import event

LONGEST = 128 * 1024
IMAGE = "A" * 8 * LONGEST  # more than a socket gives at once: else it is there whole, and need not be skipped
USED = {"input_tokens": 4, "output_tokens": 2, "total_tokens": 6}
CREATED = event("response.created", response={"id": "resp_1"})
ITEM = {"type": "image_generation_call", "result": IMAGE}
DONE = event("response.output_item.done", item=ITEM)
COMPLETED = event("response.completed", response={"id": "resp_1", "output": [ITEM, ITEM], "usage": USED, "user": None})
PAINTED = event("image_generation.completed", b64_json=IMAGE, usage=USED)
NAMELESS = b"data: " + PAINTED.partition(b"data: ")[2]
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'
RESPONSES, IMAGES, GEMINI = "/v1/responses", "/v1/images/generations", "/v1beta/models/m:streamGenerateContent"


@pytest.fixture(autouse=True)
def shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sse, objects):
        monkeypatch.setattr(module, "BLOCK_BYTES", LONGEST)


def candidate(**more: Any) -> bytes:
    """As Gemini writes it: the usage at its end."""
    inline = {"mimeType": "image/png", "data": IMAGE}
    said = {"content": {"role": "model", "parts": [{"inlineData": inline}]}, "finishReason": "STOP", "index": 0}
    usage = {"promptTokenCount": 4, "candidatesTokenCount": 2, "totalTokenCount": 6}
    return json.dumps({"candidates": [said | more], "usageMetadata": usage}).encode()


def of_gemini(**more: Any) -> bytes:
    return b"data: " + candidate(**more) + b"\r\n\r\n"


def saying(body: bytes, kind: str) -> Answer:
    """The body in pieces, and HTTP's clean end."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin(kind=kind)
        for at in range(0, len(body), 16 * 1024):
            await exchange.chunk(body[at : at + 16 * 1024])
        await exchange.chunk(b"")

    return answer


async def asked(plane: Plane, path: str) -> Reply:
    return await plane.post(path, {"model": "m", "input": "x", "prompt": "x", "contents": [], "stream": True})


def painting(url: str, path: str) -> dict[str, Any]:
    return {"p": pool(url, new_keys(1), dialect="gemini" if path.startswith(GEMINI) else "openai")}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (RESPONSES, CREATED + DONE + COMPLETED),
        (RESPONSES, CREATED + DONE + COMPLETED.rstrip()),
        (IMAGES, event("image_generation.partial_image", b64_json=IMAGE) + PAINTED),
        (IMAGES, NAMELESS),
        (IMAGES, PAINTED.replace(b"\n", b"\r\n")),
        (f"{GEMINI}?alt=sse", of_gemini()),
        (f"{GEMINI}?alt=sse", of_gemini(groundingMetadata="x" * 2 * TAIL_BYTES)),
        (GEMINI, b"[" + candidate() + b",\r\n" + candidate() + b"\n]\n"),
    ],
)
async def test_a_stream_that_ends_with_a_long_event_ended_and_tells_its_usage(path: str, body: bytes) -> None:
    """Where nothing tells what such an event was, it may have been the last."""
    kind = "application/json" if path == GEMINI else "text/event-stream"
    async with RawUpstream(saying(body, kind)) as upstream, sidecar(painting(upstream.url, path)) as plane:
        reply = await asked(plane, path)
        assert (reply.status, reply.body == body) == (200, True)
        assert (await plane.answered()).outcome == "ok"
        assert plane.of(Attempted)[-1].usage.total == 6


async def test_a_long_event_that_is_known_not_to_be_the_last_ends_no_stream() -> None:
    async with (
        RawUpstream(saying(CREATED + DONE, "text/event-stream")) as upstream,
        sidecar(painting(upstream.url, RESPONSES)) as plane,
    ):
        reply = await asked(plane, RESPONSES)
        assert reply.body.startswith(CREATED + DONE + b"event: error\n")
        assert (await plane.answered()).outcome == "server_error"


@pytest.mark.parametrize(
    ("path", "body", "behind"),
    [
        ("/v1/chat/completions", CHUNK % b"a" + CHUNK % IMAGE.encode(), CHUNK % b"b"),
        (f"{GEMINI}?alt=sse", of_gemini(finishReason=None), b'data: {"candidates":[{"content":{}}]}\r\n\r\n'),
    ],
)
async def test_a_stream_that_goes_on_behind_a_long_event_is_still_cut_without_its_last_word(
    path: str, body: bytes, behind: bytes
) -> None:
    """It was not the last, whatever it was."""
    async with (
        RawUpstream(saying(body + behind, "text/event-stream")) as upstream,
        sidecar(painting(upstream.url, path)) as plane,
    ):
        reply = await plane.post(path, {"model": "m", "messages": [], "contents": [], "stream": True})
        assert reply.body.startswith(body + behind)
        assert b'"error"' in reply.body[len(body + behind) :]
        assert (await plane.answered()).outcome == "server_error"


@pytest.mark.parametrize(
    ("path", "body"), [(RESPONSES, (CREATED + COMPLETED)[:-1000]), (GEMINI, b"[" + candidate()[:-1000])]
)
async def test_a_long_event_that_was_cut_is_cut_for_the_client_too(path: str, body: bytes) -> None:
    """Nothing can be said behind a part of one."""
    kind = "application/json" if path == GEMINI else "text/event-stream"
    async with RawUpstream(saying(body, kind)) as upstream, sidecar(painting(upstream.url, path)) as plane:
        with pytest.raises(aiohttp.ClientPayloadError):
            await asked(plane, path)
        assert (await plane.answered()).outcome == "server_error"
