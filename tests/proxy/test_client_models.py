"""What a client may make run, whichever of its fields names it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from tests.proxy.plane import CHAT, Plane, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream

MESSAGE = {"model": "small", "max_tokens": 9, "messages": []}
SMALL = {"Authorization": "Bearer small-token"}
ALL = {"Authorization": "Bearer all-token"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
FILE = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nsmall\r\n--x--\r\n'


async def ok(exchange: Exchange) -> None:
    await exchange.reply(b'{"id":"x"}')


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    async with RawUpstream(ok) as raw:
        yield raw


@pytest.fixture
async def plane(upstream: RawUpstream) -> AsyncIterator[Plane]:
    """A pool a dialect, and one client of a small model beside one of all."""
    clients = [
        {"id": "small", "token": "small-token", "models": ["small", "small-*"]},
        {"id": "all", "token": "all-token", "models": ["*"]},
    ]
    names = ("openai", "anthropic", "gemini")
    pools = {name: pool(upstream.url, new_keys(1), dialect=name) | {"base_url": upstream.url} for name in names}
    async with sidecar(pools, clients=clients) as made:
        yield made


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/messages", MESSAGE, {"fallbacks": [{"model": "small-2"}, {"model": "%s"}]}),
        ("/v1/messages", MESSAGE, {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "%s"}]}),
        ("/v1/chat/completions", CHAT | {"model": "small"}, {"models": ["small-2", "%s"]}),
        ("/v1/responses", {"model": "small", "input": "x"}, {"tools": [{"type": "image_generation", "model": "%s"}]}),
    ],
)
async def test_a_model_beside_the_one_that_is_asked_for_is_for_the_client_too(
    plane: Plane, upstream: RawUpstream, path: str, body: dict[str, Any], field: dict[str, Any]
) -> None:
    def with_model(name: str) -> bytes:
        return msgspec.json.encode(body | field).replace(b"%s", name.encode())

    assert (await plane.post(path, with_model("small-3"), SMALL)).status == 200
    reply = await plane.post(path, with_model("large"), SMALL)
    assert (reply.status, 'may not use the model \\"large\\"' in reply.body.decode()) == (403, True)
    assert len(upstream.heard) == 1
    assert (await plane.post(path, with_model("large"), ALL)).status == 200


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/v1/files", FILE, FORM),
        ("/v1/batches", {"input_file_id": "file-1"}, {}),
        ("/v1/uploads", {"filename": "x"}, {}),
        ("/v1/vector_stores/vs_1/search", {"query": "x"}, {}),
        ("/v1/responses/resp_1/cancel", {}, {}),
        ("/v1/chat/completions/chatcmpl-1", {"metadata": {}}, {}),
        ("/v1/fine_tuning/jobs/ftjob-1/pause", {}, {}),
        ("/v1/realtime/client_secrets", {"session": {"model": "large"}}, {}),
        ("/v1/messages/batches", {"requests": [{"params": {"model": "large"}}]}, {}),
        ("/upload/v1beta/files", {"file": {}}, {}),
        ("/v1beta/batches/x:cancel", {}, {}),
    ],
)
async def test_a_field_opens_no_call_that_is_for_no_model(
    plane: Plane, upstream: RawUpstream, path: str, body: Any, headers: dict[str, str]
) -> None:
    """Its provider passes over it, and runs what a file says, or what was made before."""
    body = body if isinstance(body, bytes) else body | {"model": "small"}
    reply = await plane.post(path, body, SMALL | headers)
    assert (reply.status, "calls that name no model" in reply.body.decode()) == (403, True)
    assert upstream.heard == []
    assert (await plane.post(path, body, ALL | headers)).status == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses/input_tokens", {"model": "small", "input": "x"}),
        ("/v1/fine_tuning/jobs", {"model": "small", "training_file": "file-1"}),
        ("/v1/rerank", {"model": "small", "query": "x"}),
        ("/v1/messages/count_tokens", MESSAGE),
        ("/v1beta/cachedContents", {"model": "models/small"}),
        ("/v1beta/models/small:batchGenerateContent", {"batch": {"model": "models/small"}}),
    ],
)
async def test_a_call_for_the_model_that_it_names_is_the_clients(plane: Plane, path: str, body: Any) -> None:
    assert (await plane.post(path, body, SMALL)).status == 200
