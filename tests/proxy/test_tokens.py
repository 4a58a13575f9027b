"""What a client sees of budgets of tokens, of requests in flight, and of its priority."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import replace
from typing import Any

import pytest

from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream

AT_ONCE = {"x-sidecar-max-wait": "0"}


async def spent(plane: Plane) -> int:
    """The tokens that the only key's window holds."""
    one = plane.replica.state.config.pools["chat"]
    (limit,) = plane.replica.state.config.budgets[one.keys[0].account]
    name = f"w|{one.keys[0].account}|{limit.name}"
    found = await plane.replica.store.inspect([name])
    return int((found.fields[name] or "0" * 16)[:16])


def limited(provider: StrictProvider, **limit: Any) -> dict[str, Any]:
    return {"chat": pool(provider.url, list(provider.accounts), **limit)}


async def test_request_larger_than_every_budget_is_413_with_numbers() -> None:
    async with (
        StrictProvider(new_keys(2)) as provider,
        sidecar(limited(provider, limits=[{"tokens": 500, "per": "minute"}])) as plane,
    ):
        reply = await plane.chat(max_tokens=1000)
        assert reply.status == 413
        message = reply.data["error"]["message"]
        assert "a budget is 500 tokens" in message
        assert "It may come to 10" in message
        assert "max_tokens" in message
        assert provider.arrivals == []
        assert (await plane.chat(max_tokens=100)).status == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_answer_is_counted_as_its_provider_counts_it(stream: bool) -> None:
    """Whatever was reserved for it."""
    fields: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    async with (
        StrictProvider(new_keys(1)) as provider,
        sidecar(limited(provider, limits=[{"tokens": 5000, "per": "minute"}])) as plane,
    ):
        reply = await plane.chat(max_tokens=1000, **fields)
        assert reply.status == 200
        await plane.answered()
        assert 0 < await spent(plane) < 100


@pytest.mark.parametrize("fault", [Fault(close="before"), Fault(status=500), Fault(status=429)])
async def test_a_client_pays_for_the_answer_and_not_for_the_attempts_before_it(fault: Fault) -> None:
    """Its budget holds what a request may come to once: three attempts of it are served all the same."""
    clients = [{"id": "web", "token": "web-token", "limits": [{"tokens": 1500, "per": "minute"}]}]
    fault = replace(fault, times=2)
    async with (
        StrictProvider(new_keys(3)) as provider,
        sidecar(limited(provider), clients=clients) as plane,
    ):
        provider.faults.append(fault)
        reply = await plane.chat(AT_ONCE | {"Authorization": "Bearer web-token"}, max_tokens=1000)
        assert (reply.status, reply.attempts) == (200, 3)
        await plane.answered()
        name = "w|@web|tokens/60000000/"
        assert 0 < int(((await plane.replica.store.inspect([name])).fields[name] or "0")[:16]) < 100


HOLLOW = {"choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}]}
FILTERED = {"choices": [{"index": 0, "message": {"role": "assistant"}, "finish_reason": "content_filter"}]}


@pytest.mark.parametrize(("said", "attempts", "of_key"), [(FILTERED, 2, 42), (HOLLOW, 3, 126), (None, 3, 3000)])
async def test_a_client_pays_for_an_answer_that_it_gets_after_all_once_nobody_had_a_better_one(
    said: dict[str, Any] | None, attempts: int, of_key: int
) -> None:
    """What it told that it came to, once; the key for each. For an error that was tried again nobody knows, and who got
    only that pays nothing."""
    told = {"usage": {"prompt_tokens": 40, "completion_tokens": 2, "total_tokens": 42}}

    async def answer(exchange: Exchange) -> None:
        if exchange.target.startswith(b"/dead"):
            await exchange.reply(b'{"error":{"message":"deactivated"}}', "401 Unauthorized")
        else:
            await exchange.reply(
                json.dumps({**(said or {}), **(told if said else {})}).encode(), "200" if said else "500"
            )

    async with RawUpstream(answer) as upstream:
        chat = pool(upstream.url, new_keys(1), limits=[{"tokens": 9000, "per": "minute"}], max_attempts=3)
        pools = {"chat": chat, "dead": pool(f"{upstream.url}/dead", new_keys(1))}
        both = {"targets": [{"pool": "chat"}, {"pool": "dead"}], "fallback_on": ["blocked"]}
        route = both if said is FILTERED else {"targets": [{"pool": "chat"}], "retry_empty": True}
        clients = [{"id": "web", "token": "web-token", "limits": [{"tokens": 9000, "per": "minute"}]}]
        async with sidecar(pools, routes={"asked": route}, clients=clients) as plane:
            reply = await plane.chat({"Authorization": "Bearer web-token"}, model="asked", max_tokens=990)
            assert (reply.attempts, reply.headers["x-sidecar-pool"]) == (attempts, "chat")
            await plane.answered()
            assert round(await spent(plane), -2 if said is None else 0) == of_key
            name = "w|@web|tokens/60000000/"
            charged = int(((await plane.replica.store.inspect([name])).fields[name] or "0")[:16])
            assert charged == (42 if said else 0)


async def test_over_three_replicas_a_client_is_charged_for_its_answers_and_nothing_else(redis_url: str) -> None:
    """However many attempts each took: no estimate is left behind."""
    more: dict[str, Any] = {"redis": redis_url, "namespace": secrets.token_hex(6)}
    more["clients"] = [{"id": "web", "token": "web-token", "limits": [{"tokens": 4200, "per": "hour"}]}]
    async with StrictProvider(new_keys(6)) as provider:
        told = limited(provider, retry_budget="off", breaker="off")
        async with sidecar(told, **more) as one, sidecar(told, **more) as two, sidecar(told, **more) as three:
            provider.faults += [Fault(status=500, times=7), Fault(close="before", times=5), Fault(status=503, times=3)]
            headers, planes = AT_ONCE | {"Authorization": "Bearer web-token"}, (one, two, three)
            asked = [planes[n % 3].chat(headers, max_tokens=1000) for n in range(12)]
            replies = await asyncio.gather(*asked)
            assert {reply.status for reply in replies} <= {200, 429, 500, 502, 503}
            assert max(reply.attempts for reply in replies) > 1
            for plane in planes:
                await plane.answered()
            name = "w|@web|tokens/3600000000/"
            spent = int(((await one.replica.store.inspect([name])).fields[name] or "0")[:16])
            assert spent == sum(reply.data["usage"]["total_tokens"] for reply in replies if reply.status == 200)


@pytest.mark.parametrize(
    "fault",
    [Fault(close="middle"), Fault(status=500), Fault(status=503, at="first"), Fault(status=429, at="first")],
)
async def test_what_nobody_knows_the_cost_of_keeps_its_estimate(fault: Fault) -> None:
    """Also of an error within a stream: it was begun, whatever it says."""
    async with (
        StrictProvider(new_keys(1)) as provider,
        sidecar(limited(provider, limits=[{"tokens": 5000, "per": "minute"}], max_attempts=1)) as plane,
    ):
        provider.faults.append(fault)
        with_stream: dict[str, Any] = {"stream": True} if fault.close or fault.at == "first" else {}
        try:
            await plane.chat(max_tokens=1000, **with_stream)
        except Exception as error:
            assert fault.close, error
        await plane.answered()
        assert await spent(plane) > 1000


@pytest.mark.parametrize("kind", ["overloaded_error", "rate_limit_error"])
async def test_an_error_after_a_beginning_that_told_some_usage_keeps_the_estimate(kind: str) -> None:
    """As Anthropic begins: `output_tokens: 1`."""
    error = json.dumps({"type": "error", "error": {"type": kind, "message": "Overloaded"}}).encode()

    async def fail(exchange: Exchange) -> None:
        await exchange.begin(kind="text/event-stream")
        await exchange.chunk(STARTED + b"event: error\ndata: " + error + b"\n\n")
        await exchange.chunk(b"")

    async with RawUpstream(fail) as upstream:
        told = pool(upstream.url, new_keys(1), limits=[{"tokens": 50000, "per": "hour"}], max_attempts=1)
        told |= {"base_url": upstream.url, "dialect": "anthropic"}
        async with sidecar({"chat": told}) as plane:
            body = {"model": "m", "stream": True, "max_tokens": 3000}
            async with plane.http.post(plane.url + "/v1/messages", json=body, headers=AT_ONCE) as answer:
                assert kind.encode() in await answer.read()
            await plane.answered()
            assert 3025 <= await spent(plane) < 3125


STARTED = b'data: {"type": "message_start", "message": {"usage": {"input_tokens": 25, "output_tokens": 1}}}\n\n'
SAID = b'data: {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "hello"}}\n\n'
FIRST = b'{"candidates": [{"content": {"parts": [{"text": "a"}]}}], "usageMetadata": {"promptTokenCount": 25, '
FIRST += b'"candidatesTokenCount": %d}}'
GENERATE = "/v1beta/models/m:streamGenerateContent"


@pytest.mark.parametrize(
    ("dialect", "path", "began", "kind", "least"),
    [
        ("anthropic", "/v1/messages", STARTED + SAID, "text/event-stream", 3025),
        ("gemini", GENERATE, b"[" + FIRST % 1 + b",", "application/json", 3025),
        ("gemini", GENERATE, b"[" + FIRST % 4000 + b",", "application/json", 4025),
    ],
)
async def test_who_leaves_in_the_middle_pays_no_less_than_was_expected(
    dialect: str, path: str, began: bytes, kind: str, least: int
) -> None:
    """Though the stream has told some usage by then: at its beginning it knows nothing of the output."""

    async def begin(exchange: Exchange) -> None:
        await exchange.begin(kind=kind)
        await exchange.chunk(began)
        await asyncio.Event().wait()

    said = {"anthropic": {"model": "m", "stream": True, "max_tokens": 3000}, "gemini": {}}[dialect]
    body = said | {"generationConfig": {"maxOutputTokens": 3000}}
    limits = [{"tokens": 50000, "per": "hour"}]
    clients = [{"id": "web", "token": "web-token", "limits": limits}]
    async with RawUpstream(begin) as upstream:
        told = pool(upstream.url, new_keys(1), limits=limits) | {"base_url": upstream.url, "dialect": dialect}
        async with sidecar({"chat": told}, clients=clients) as plane:
            headers = {"Authorization": "Bearer web-token"}
            async with plane.http.post(plane.url + path, json=body, headers=headers) as answer:
                assert answer.status == 200
                await answer.content.readany()
                answer.close()
            await plane.answered()
            assert least <= await spent(plane) < least + 100
            window = "w|@web|tokens/3600000000/"
            client = int(((await plane.replica.store.inspect([window])).fields[window] or "0")[:16])
            assert client == await spent(plane)


async def test_refusal_costs_no_tokens() -> None:
    async with (
        StrictProvider(new_keys(1)) as provider,
        sidecar(limited(provider, limits=[{"tokens": 5000, "per": "minute"}])) as plane,
    ):
        provider.faults.append(Fault(status=429, headers={"retry-after": "600"}))
        assert (await plane.chat(AT_ONCE, max_tokens=1000)).status == 429
        assert await spent(plane) == 0


async def test_who_polls_pays_once() -> None:
    """A session says what it has cost in all, each time that it is read."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(b'{"type":"session","usage":{"input_tokens":5000,"output_tokens":1000}}')

    async with RawUpstream(answer) as upstream:
        claude = pool(upstream.url, new_keys(1), dialect="anthropic", limits=[{"tokens": 6000, "per": "minute"}])
        async with sidecar({"chat": claude}) as plane:
            for _ in range(3):
                reply = await plane.send("GET", "/v1/sessions/sesn_1", {"anthropic-version": "2023-06-01"} | AT_ONCE)
                assert reply.status == 200
                await plane.answered()
            assert await spent(plane) < 100


async def test_batch_leaves_the_last_share_to_the_others() -> None:
    """By the word of the request; another word is told what may be said."""
    async with (
        StrictProvider(new_keys(1)) as provider,
        sidecar(limited(provider, limits=[{"requests": 5, "per": "minute"}])) as plane,
    ):
        batch = AT_ONCE | {"x-sidecar-priority": "batch"}
        assert [(await plane.chat(batch)).status for _ in range(5)] == [200, 200, 200, 200, 429]
        assert [(await plane.chat(AT_ONCE)).status for _ in range(2)] == [200, 429]
        wrong = await plane.chat({"x-sidecar-priority": "high"})
        assert wrong.status == 400
        assert "interactive (the default) or batch" in wrong.data["error"]["message"]


async def test_requests_in_flight_stay_within_their_number_and_the_next_follows_at_once() -> None:
    async with (
        StrictProvider(new_keys(1)) as provider,
        sidecar(limited(provider, concurrency=1)) as plane,
    ):
        provider.faults.append(Fault(hang=True, times=1))
        first = asyncio.create_task(plane.chat())
        await provider.wait_for(lambda: len(provider.arrivals) == 1)
        busy = await plane.chat(AT_ONCE)
        assert (busy.status, busy.headers["retry-after"]) == (429, "1")
        assert "requests in flight" in busy.data["error"]["message"]
        second = asyncio.create_task(plane.chat())
        assert len(provider.arrivals) == 1
        provider.release()
        assert [(await one).status for one in (first, second)] == [200, 200]
        first_gone = asyncio.create_task(plane.chat())
        provider.faults.append(Fault(hang=True, times=1))
        first_gone.cancel()
        await asyncio.gather(first_gone, return_exceptions=True)
        provider.release()
        provider.faults.clear()
        assert (await plane.chat()).status == 200
