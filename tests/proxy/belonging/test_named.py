"""What a call names by other words than most, and what it only passes on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.proxy.plane import new_keys, sidecar
from tests.proxy.raw import Exchange, RawUpstream

FORM, JSON = {"Content-Type": "multipart/form-data; boundary=x"}, {"Content-Type": "application/json"}
UUID, MESSAGE, VOICE = "f47ac10b-58cc-4372-a567-0e02b2c3d479", "msg_01XFDUDYJgAACzvnptvVoYEL", "voice_6a1b2c3d4e5f"
VIDEO = b'--x\r\nContent-Disposition: form-data; name="video[id]"\r\n\r\nvideo_6a1b2c3d4e5f\r\n--x--\r\n'
UPLOAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello\r\n--x--\r\n'


def pool(url: str, provider: str = "openai") -> dict[str, Any]:
    """Of three accounts."""
    keys = [{"id": f"k{at}", "secret": secret} for at, secret in enumerate(new_keys(3))]
    return {"provider": provider, "base_url": url, "keys": keys}


@pytest.mark.parametrize(
    ("made", "told", "used"),
    [
        (
            ("/v1/chat/completions", {"deferred": True}),
            {"request_id": UUID},
            (f"/v1/chat/deferred-completion/{UUID}", None),
        ),
        (("/pools/p/async/chat/completions", {}), {"id": UUID}, (f"/pools/p/async/chat/completions/{UUID}", None)),
        (
            ("/v1/messages", {"thread": {"type": "create"}}),
            {"id": MESSAGE},
            ("/v1/messages", {"thread": {"type": "continue", "previous_message_id": MESSAGE}}),
        ),
        (("/v1/audio/voices", {"name": "n"}), {"id": VOICE}, ("/v1/audio/speech", {"voice": {"id": VOICE}})),
        (("/v1/files", {}), {"id": UUID}, ("/v1/chat/completions", {"messages": [{"content": [{"file_id": UUID}]}]})),
        (("/v1/videos", {}), {"id": "video_6a1b2c3d4e5f"}, ("/v1/videos/edits", VIDEO)),
    ],
    ids=["deferred", "async", "thread", "voice", "uuid", "form"],
)
async def test_what_an_answer_tells_of_is_asked_of_its_account(
    made: tuple[str, Any], told: Any, used: tuple[str, Any]
) -> None:
    """As xAI, Perplexity, Anthropic, OpenAI and Mistral tell of it, and as their SDKs name it."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(json.dumps(told if exchange.body == first else {}).encode())

    (path, asked), (again, body) = made, used
    model = {"model": "m", "max_tokens": 9}
    first = json.dumps(model | asked).encode()
    method, headers = "GET" if body is None else "POST", FORM if body is VIDEO else JSON
    sent = body if body is VIDEO else json.dumps(model | body).encode() if body else b""
    provider = "anthropic" if path == "/v1/messages" else "openai"
    async with RawUpstream(answer) as upstream, sidecar({"p": pool(upstream.url, provider)}) as plane:
        maker = (await plane.post(path, first)).key
        await plane.send("GET", "/v1/files")  # so that calls without a model do not begin with the maker anyway
        assert {(await plane.send(method, again, headers, sent)).key for _ in range(3)} == {maker}


async def test_an_apps_data_decides_nothing() -> None:
    """Of an agent whose tools handle files of two accounts, and of a log of them that is uploaded."""
    ids = (f"file-6F2ksmvXxt4Vdoqm{at:06}" for at in range(100))

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(json.dumps({"id": next(ids), "object": "thing"}).encode())

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url)}) as plane:
        made = [await plane.post("/v1/videos", {}) for _ in range(2)]
        files = [reply.data["id"] for reply in made]
        assert made[0].key != made[1].key
        tools = [{"type": "function_call_output", "call_id": "call_1", "output": file} for file in files]
        body = {"model": "gpt-4o", "input": tools, "metadata": dict(zip(("of", "and"), files, strict=True))}
        told = [await plane.post("/v1/responses", body) for _ in range(3)]
        log = json.dumps([reply.data for reply in made]).encode()
        uploads = [UPLOAD, UPLOAD.replace(b"hello", log)]
        told += [await plane.send("POST", "/v1/files", FORM, upload) for upload in uploads]
        raw = [{"Content-Type": kind} for kind in ("text/plain", "application/octet-stream", "multipart/related")]
        told += [await plane.send("POST", "/v1/files", kind, b"a log: " + log) for kind in raw]
        assert {reply.status for reply in told} == {200}
        assert {reply.key for reply in told[:3]} == {"k0", "k1", "k2"}
        assert told[3].key == told[4].key


async def test_the_credit_of_a_refusal_is_redeemed_where_it_was_given() -> None:
    """By Anthropic's header alone: what its answer shows else is not looked at, nor is any other's."""
    refusal = {"id": MESSAGE, "stop_details": {"type": "refusal", "fallback_credit_token": "AbC-9" * 20}}

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(json.dumps(refusal).encode())

    async with RawUpstream(answer) as upstream, sidecar({"p": pool(upstream.url, "anthropic")}) as plane:
        made, body = plane.replica.store.made, json.dumps({"model": "m", "max_tokens": 9, "messages": []}).encode()
        redeems = json.dumps({"model": "m", "fallback_credit_token": {"token": "AbC-9" * 20}}).encode()
        refused = [await plane.post("/v1/messages", body), await plane.post("/v1/messages", redeems)]
        assert refused[0].key != refused[1].key
        asked = await plane.send("POST", "/v1/messages", JSON | {"anthropic-beta": "fallback-credit-2026-07-01"}, body)
        assert {(await plane.post("/v1/messages", redeems)).key for _ in range(3)} == {asked.key}
        assert not await made.makers({MESSAGE: 0})
