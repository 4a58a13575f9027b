"""Retries that do no harm: what is repeated, how often over all traffic, and what an SDK is told to repeat itself."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anthropic
import openai
import pytest

from sidecar.pool.retries import FLOOR
from sidecar.simulate.calls import Call
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream
from tests.servers import free_port

ASK: Any = [{"role": "user", "content": "hi"}]


def secrets_of(provider: StrictProvider) -> list[str]:
    return list(provider.accounts)


# --- what SDKs are told -----------------------------------------------------------------------------


def with_openai(url: str) -> None:
    with openai.OpenAI(api_key="unused", base_url=f"{url}/v1") as sdk:
        sdk.chat.completions.create(model="gpt-4o", messages=ASK)


def with_anthropic(url: str) -> None:
    with anthropic.Anthropic(api_key="unused", base_url=url) as sdk:
        sdk.messages.create(model="claude-x", max_tokens=9, messages=ASK)


@pytest.mark.parametrize("ask", [with_openai, with_anthropic])
async def test_an_sdk_does_not_treble_the_attempts_at_a_provider_that_is_down(ask: Any) -> None:
    """Each would come twice more by itself, and each time there would be as many attempts again."""
    async with StrictProvider(new_keys(2)) as provider:
        provider.faults.append(Fault(status=503, headers={"x-should-retry": "true"}))
        dialect = "openai" if ask is with_openai else "anthropic"
        base = provider.url + ("/v1" if ask is with_openai else "")
        told = pool(provider.url, secrets_of(provider), max_attempts=3) | {"dialect": dialect, "base_url": base}
        async with sidecar({"chat": told}) as plane:
            with pytest.raises((openai.InternalServerError, anthropic.InternalServerError)):
                await asyncio.to_thread(ask, plane.url)
            assert len(provider.arrivals) == 3


async def test_an_sdk_comes_back_when_there_is_room(provider: StrictProvider) -> None:
    """It waits for as long as our 429 says, and is served then."""
    provider.faults.append(Fault(status=429, headers={"retry-after": "1"}, times=3))
    async with sidecar({"chat": pool(provider.url, secrets_of(provider), max_wait="0s")}) as plane:
        await asyncio.to_thread(with_openai, plane.url)
        assert len(provider.arrivals) == 4


async def should_retry(plane: Plane) -> tuple[int, str]:
    reply = await plane.chat()
    (told,) = reply.headers.getall("x-should-retry", ["nothing"])
    return reply.status, told


@pytest.mark.parametrize(("wait", "told"), [("60", "true"), ("61", "false")])
async def test_a_429_is_worth_a_retry_where_an_sdk_waits_as_long(
    plane: Plane, provider: StrictProvider, wait: str, told: str
) -> None:
    provider.faults.append(Fault(status=429, headers={"retry-after": wait}))
    assert await should_retry(plane) == (429, told)


@pytest.mark.parametrize("status", [401, 403, 500, 503, 529])
async def test_a_failure_that_every_key_met_is_not_worth_a_retry(
    plane: Plane, provider: StrictProvider, status: int
) -> None:
    """Whatever the provider says of it, which spoke of one key."""
    provider.faults.append(Fault(status=status, headers={"x-should-retry": "true"}))
    assert await should_retry(plane) == (status, "false")


@pytest.mark.parametrize("told", ["true", "false", None])
async def test_of_a_clients_own_mistake_the_providers_word_passes(
    plane: Plane, provider: StrictProvider, told: str | None
) -> None:
    provider.faults.append(Fault(status=409, headers={"x-should-retry": told} if told else {}))
    assert await should_retry(plane) == (409, told or "nothing")


TOO_LARGE = {
    "message": "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 45000.",
    "code": "rate_limit_exceeded",
}
ELSEWHERE = {"message": "No such File object: file-1"}


@pytest.mark.parametrize(("status", "error"), [(429, TOO_LARGE), (404, ELSEWHERE)])
async def test_what_a_second_account_was_asked_about_is_not_worth_a_retry(
    plane: Plane, provider: StrictProvider, status: int, error: Any
) -> None:
    """What can never fit, or is not there, an SDK would ask both of them for three times."""
    provider.faults.append(Fault(status=status, body={"error": error}, headers={"x-should-retry": "true"}))
    assert await should_retry(plane) == (status, "false")
    with pytest.raises(openai.APIStatusError):
        await asyncio.to_thread(with_openai, plane.url)
    assert len(provider.arrivals) == 2 * 2


async def test_nor_is_what_the_pool_calls_a_mistake_under_a_status_that_sdks_repeat(provider: StrictProvider) -> None:
    provider.faults.append(Fault(status=503))
    told = pool(provider.url, secrets_of(provider), outcomes=[{"status": 503, "class": "bad_request"}])
    async with sidecar({"chat": told}) as plane:
        assert await should_retry(plane) == (503, "false")
        assert len(provider.arrivals) == 1


async def test_an_answer_says_nothing_of_retries(plane: Plane) -> None:
    assert await should_retry(plane) == (200, "nothing")


async def test_what_the_sidecar_tried_in_vain_is_not_worth_a_retry() -> None:
    """Nobody there, or nobody in time; nor is what is not served at all."""
    nobody = pool(f"http://127.0.0.1:{free_port()}", new_keys(1), max_attempts=1)
    async with sidecar({"chat": nobody}) as plane:
        assert await should_retry(plane) == (502, "false")
        assert (await plane.chat(model="")).headers["x-should-retry"] == "false"
    async with StrictProvider(new_keys(1)) as provider:
        provider.faults.append(Fault(hang=True))
        told = pool(provider.url, secrets_of(provider), timeout="200ms", max_wait="0s")
        async with sidecar({"chat": told}) as plane:
            assert await should_retry(plane) == (504, "false")


# --- what is sent again -----------------------------------------------------------------------------


def idempotency_keys(call: Call) -> list[str]:
    return [value for name, value in call.headers if name.lower() == "idempotency-key"]


async def test_a_clients_idempotency_key_is_kept_over_attempts_and_none_is_added(
    plane: Plane, provider: StrictProvider
) -> None:
    provider.faults.append(Fault(status=503, times=2))
    assert (await plane.chat({"Idempotency-Key": "once-7"})).attempts == 3
    assert [idempotency_keys(call) for call in provider.calls] == [["once-7"]] * 3
    assert (await plane.chat()).status == 200
    assert idempotency_keys(provider.calls[-1]) == []


MAIL = {"model": "gpt-4o", "input": "mail it", "tools": [{"type": "mcp", "server_label": "mail"}]}
SENT = {"type": "mcp_call", "id": "mcp_1", "name": "send_mail", "output": "sent"}


def failed(code: str) -> bytes:
    """A response that failed after its tool had acted."""
    error = {"code": code, "message": "Please try again in 9s."}
    return json.dumps({"id": "resp_1", "status": "failed", "error": error, "output": [SENT]}).encode()


FAILED_STREAM = b"".join(
    b"event: %s\ndata: %s\n\n" % (name.encode(), json.dumps({"type": name, **said}).encode())
    for name, said in (
        ("response.created", {"response": {"id": "resp_1", "status": "in_progress"}}),
        ("response.output_item.added", {"item": SENT}),
        ("response.failed", {"response": json.loads(failed("rate_limit_exceeded"))}),
    )
)


@pytest.mark.parametrize(
    ("told", "rests"),
    [
        (failed("rate_limit_exceeded"), True),
        (failed("insufficient_quota"), True),
        (failed("invalid_api_key"), False),
        (failed("server_error"), False),
        (FAILED_STREAM, True),
    ],
)
async def test_what_was_begun_goes_to_no_other_key_whatever_its_2xx_says(told: bytes, rests: bool) -> None:
    """The mail would be sent twice. Whom no more is to be asked of rests all the same."""

    async def answer(exchange: Exchange) -> None:
        kind = "text/event-stream" if told is FAILED_STREAM else "application/json"
        await exchange.reply(told, "200 OK", f"Content-Type: {kind}")

    async with RawUpstream(answer) as upstream:
        pools = {name: pool(upstream.url, new_keys(keys), max_wait="0s") for name, keys in (("one", 1), ("two", 2))}
        async with sidecar(pools) as plane:
            for name in pools:
                mail = MAIL | {"model": f"{name}/gpt-4o", "stream": told is FAILED_STREAM}
                reply = await plane.post("/v1/responses", mail)
                assert (reply.status, reply.attempts, reply.body) == (200, 1, told)
            again = await plane.post("/v1/responses", MAIL | {"model": "one/gpt-4o"})
            assert again.attempts == (0 if rests else 1)


@pytest.mark.parametrize(("breaks", "told"), [(True, 502), (False, 504)])
async def test_what_may_have_been_done_is_not_told_as_the_refusal_of_the_key_before(breaks: bool, told: int) -> None:
    """Whoever reads a 429 asks again, and pays for a second image."""

    async def answer(exchange: Exchange) -> None:
        if len(upstream.heard) == 1:
            await exchange.reply(b"{}", "429 As Told", "retry-after: 5")
        elif breaks:
            exchange.cut()
        else:
            await asyncio.Event().wait()

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(3), first_byte_timeout="1s")}) as plane,
    ):
        reply = await plane.post("/v1/images/generations", {"model": "gpt-image-1", "prompt": "a cat"})
        assert (reply.status, reply.attempts, reply.headers["x-should-retry"]) == (told, 2, "false")
        assert "retry-after" not in reply.headers


# --- the retry budget -------------------------------------------------------------------------------


async def test_a_provider_that_answers_503_to_everything_gets_its_traffic_and_a_fifth_more() -> None:
    """Five attempts each would be 500; a hundred clients at once, or one after another, it is the same."""
    async with StrictProvider(new_keys(3)) as provider:
        provider.faults.append(Fault(status=503, body={"error": {"message": "down"}}))
        told = pool(provider.url, secrets_of(provider), breaker="off")
        async with sidecar({"chat": told}) as plane:
            replies = [await plane.chat() for _ in range(50)]
            replies += await asyncio.gather(*(plane.chat() for _ in range(50)))
        assert {reply.status for reply in replies} == {503}
        assert 100 + 20 <= len(provider.arrivals) <= 100 + 20 + FLOOR + 1


async def test_pools_of_one_provider_share_its_budget() -> None:
    """They keep down the same one, whatever they are called and whichever of them a request goes to."""
    async with StrictProvider(new_keys(4)) as provider:
        provider.faults.append(Fault(status=503))
        keys = secrets_of(provider)
        pools = {name: pool(provider.url, keys[n : n + 2], breaker="off") for n, name in enumerate(("one", "two"))}
        async with sidecar(pools) as plane:
            replies = [await plane.chat(model=f"{name}/gpt-4o") for name in pools for _ in range(25)]
        assert {reply.status for reply in replies} == {503}
        assert 50 + 10 <= len(provider.arrivals) <= 50 + 10 + FLOOR + 1


@pytest.mark.parametrize("names", [["overloaded"], []])
async def test_a_target_that_asks_a_provider_for_the_same_model_asks_the_budget(
    provider: StrictProvider, names: list[str]
) -> None:
    """Another model may well be served, as another provider may: to ask for it is no retry."""
    keys = secrets_of(provider)
    pools = {name: pool(provider.url, [keys[n]], retry_budget=0) for n, name in enumerate(("one", "two"))}
    big = [{"pool": name, "model": "big"} for name in pools]
    routes = {
        "same": {"targets": big, "fallback_on": names},
        "other": {"targets": [*big, {"pool": "two", "model": "small"}], "fallback_on": names},
    }
    provider.faults.append(Fault(model="big", status=503))
    async with sidecar(pools, routes=routes) as plane:
        reply = await plane.chat(model="same")
        assert (reply.status, reply.attempts, reply.headers["x-sidecar-pool"]) == (503, 1, "one")
        reply = await plane.chat(model="other")
        assert (reply.status, reply.attempts, reply.headers["x-sidecar-model"]) == (200, 2, "small")


async def test_refused_keys_are_no_retries_of_the_budget(provider: StrictProvider) -> None:
    """Who moves on after a 429 is no load on a provider that fails."""
    for secret in secrets_of(provider)[:2]:
        provider.faults.append(Fault(key=secret, status=429, headers={"retry-after-ms": "1"}))
    told = pool(provider.url, secrets_of(provider), retry_budget="0%")
    async with sidecar({"chat": told}) as plane:
        assert {(await plane.chat()).status for _ in range(30)} == {200}


async def test_a_spent_budget_leaves_other_providers_to_be_asked(provider: StrictProvider) -> None:
    """At once: without a backoff, and though the same provider has keys left in another pool."""
    async with StrictProvider(new_keys(1)) as other:
        provider.faults.append(Fault(status=503))
        keys = secrets_of(provider)
        pools = {"one": pool(provider.url, keys[:2], retry_budget=0), "two": pool(other.url, secrets_of(other))}
        routes = {"best": [{"pool": "one", "model": "big"}, {"pool": "two", "model": "small"}]}
        async with sidecar(pools, routes=routes) as plane:
            reply = await plane.chat(model="best")
            assert (reply.status, reply.attempts, reply.headers["x-sidecar-pool"]) == (200, 2, "two")


async def test_who_gave_up_on_one_provider_waits_for_room_at_another(provider: StrictProvider) -> None:
    async with StrictProvider(new_keys(1), [(1, 1.0)]) as other:
        provider.faults.append(Fault(status=503))
        limit = {"requests": 1, "per": "1s", "guard": "100ms"}
        pools = {
            "one": pool(provider.url, secrets_of(provider), retry_budget=0),
            "two": pool(other.url, secrets_of(other), limits=[limit]),
        }
        routes = {"best": [{"pool": "one", "model": "big"}, {"pool": "two", "model": "small"}]}
        async with sidecar(pools, routes=routes) as plane:
            replies = [await plane.chat(model="best") for _ in range(2)]
            assert [reply.status for reply in replies] == [200, 200]
            assert int(replies[1].headers["x-sidecar-waited-ms"]) > 500
