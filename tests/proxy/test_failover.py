"""What a client sees while keys fail: another key's answer where one has it, else the truth."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from sidecar.model.events import Attempted, KeyChanged
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream
from tests.servers import free_port

NO_MONEY = {
    "error": {
        "message": "You exceeded your current quota, please check your plan and billing details.",
        "type": "insufficient_quota",
        "param": None,
        "code": "insufficient_quota",
    }
}
NO_MODEL = {
    "error": {
        "message": "Project `proj_x` does not have access to model `gpt-4o`",
        "type": "invalid_request_error",
        "param": None,
        "code": "model_not_found",
    }
}


def secrets_of(provider: StrictProvider) -> list[str]:
    return list(provider.accounts)


def rests(plane: Plane) -> list[tuple[str, str, bool]]:
    """(key, reason, proved) of every change of a key, in their order; what was taken back has no reason of its own."""
    return [(event.key, event.reason, event.proved) for event in plane.of(KeyChanged)]


# --- rate limits ------------------------------------------------------------------------------------


async def test_a_429_goes_to_the_next_key_and_rests_the_first(plane: Plane, provider: StrictProvider) -> None:
    first = secrets_of(provider)[0]
    provider.faults.append(Fault(key=first, status=429, headers={"retry-after": "600"}))
    reply = await plane.chat()
    assert (reply.status, reply.key, reply.attempts) == (200, "k1", 2)
    assert [(await plane.chat()).key for _ in range(4)] == ["k2", "k1", "k2", "k1"]
    assert provider.counts()[first] == 1
    (change,) = plane.of(KeyChanged)
    assert (change.pool, change.key, change.reason, change.proved) == ("chat", "k0", "rate_limit_minute", True)
    assert 599 < change.seconds <= 600


async def test_a_key_that_rests_comes_back_at_its_own_place(plane: Plane, provider: StrictProvider) -> None:
    provider.faults.append(Fault(key=secrets_of(provider)[1], status=429, headers={"retry-after-ms": "300"}, times=1))
    assert [(await plane.chat()).key for _ in range(2)] == ["k0", "k2"]
    await asyncio.sleep(0.35)
    assert [(await plane.chat()).key for _ in range(5)] == ["k0", "k1", "k2", "k0", "k1"]


async def test_429_everywhere_is_the_sidecars_own_with_the_earliest_moment(
    plane: Plane, provider: StrictProvider
) -> None:
    """In the dialect, without a provider's words; the next request is told at once, without a send."""
    for secret, wait in zip(secrets_of(provider), ("50", "30", "40"), strict=True):
        provider.faults.append(Fault(key=secret, status=429, headers={"retry-after": wait}))
    for attempts in (3, 0):
        reply = await plane.chat()
        assert (reply.status, reply.attempts) == (429, attempts)
        assert reply.data["error"]["code"] == "rate_limit_exceeded"
        assert reply.headers["retry-after"] == "30"
        assert 28_000 < int(reply.headers["retry-after-ms"]) <= 30_000
        assert "x-sidecar-key" not in reply.headers
    assert sum(provider.counts().values()) == 3


async def test_a_request_waits_for_a_rest_that_ends_soon(provider: StrictProvider) -> None:
    """Within max_wait, and once for each request: nothing is sent before the moment."""
    secrets = secrets_of(provider)[:1]
    provider.faults.append(Fault(status=429, headers={"retry-after-ms": "400"}, times=1))
    async with sidecar({"chat": pool(provider.url, secrets, max_wait="5s")}) as plane:
        reply = await plane.chat()
        assert (reply.status, reply.key, reply.attempts) == (200, "k0", 2)
        assert int(reply.headers["x-sidecar-waited-ms"]) > 200
        first, second = (arrival.at_ns for arrival in provider.arrivals)
        assert second - first >= 400_000_000


async def test_budgets_are_waited_for_or_refused_as_the_request_says() -> None:
    limit = {"requests": 1, "per": "1s", "guard": "100ms"}
    async with StrictProvider(new_keys(1), [(1, 1.0)]) as provider:
        pools = {"chat": pool(provider.url, secrets_of(provider), limits=[limit], max_wait="0s", timeout="20s")}
        async with sidecar(pools) as plane:
            assert (await plane.chat()).status == 200
            refused = await plane.chat()
            assert (refused.status, refused.headers["retry-after"]) == (429, "2")
            assert 900 < int(refused.headers["retry-after-ms"]) <= 1_100
            waited = await asyncio.gather(*(plane.chat({"x-sidecar-max-wait": "10"}) for _ in range(2)))
            assert [reply.status for reply in waited] == [200, 200]
            assert sorted(reply.grant for reply in waited) == [1, 2]
            assert provider.excess() == []


@pytest.mark.parametrize("text", ["soon", "-1", "1e3", "", "0x1", "1,5", "999999999999", "NaN", "21"])
async def test_a_max_wait_that_is_no_wait_is_refused(provider: StrictProvider, text: str) -> None:
    async with sidecar({"chat": pool(provider.url, secrets_of(provider), timeout="20s")}) as plane:
        reply = await plane.chat({"x-sidecar-max-wait": text})
        assert reply.status == 400
        assert "x-sidecar-max-wait" in reply.data["error"]["message"]
        assert (await plane.chat({"x-sidecar-max-wait": "20"})).grant == 0


# --- dead keys and bad requests ---------------------------------------------------------------------


async def test_a_dead_key_is_found_out_once(plane: Plane, provider: StrictProvider) -> None:
    """A suspicion first; proved by the key that answered."""
    first = secrets_of(provider)[0]
    provider.faults.append(Fault(key=first, dead=True))
    reply = await plane.chat()
    assert (reply.status, reply.key, reply.attempts) == (200, "k1", 2)
    assert [(await plane.chat()).key for _ in range(4)] == ["k2", "k1", "k2", "k1"]
    assert rests(plane) == [("k0", "invalid_key", False), ("k0", "invalid_key", True)]
    assert plane.of(KeyChanged)[-1].seconds > 3_000
    assert provider.counts()[first] == 1


async def test_two_dead_keys_of_three_are_both_found_out(plane: Plane, provider: StrictProvider) -> None:
    """The second refusal takes the suspicion back; the answer of the third proves both."""
    for secret in secrets_of(provider)[:2]:
        provider.faults.append(Fault(key=secret, dead=True))
    reply = await plane.chat()
    assert (reply.status, reply.key, reply.attempts) == (200, "k2", 3)
    assert [(await plane.chat()).key for _ in range(3)] == ["k2", "k2", "k2"]
    assert sorted(key for key, reason, proved in rests(plane) if proved and reason == "invalid_key") == ["k0", "k1"]


async def test_a_request_that_every_key_refuses_is_to_blame_itself(plane: Plane, provider: StrictProvider) -> None:
    """The provider's answer passes and nothing rests: the next requests find every key in its turn."""
    provider.faults.append(Fault(dead=True))
    reply = await plane.chat()
    assert (reply.status, reply.attempts, reply.key) == (401, 3, "k2")
    assert reply.data["error"]["code"] == "invalid_api_key"
    provider.faults.clear()
    replies = [await plane.chat() for _ in range(3)]
    assert [(reply.status, reply.attempts) for reply in replies] == [(200, 1)] * 3
    assert {reply.key for reply in replies} == {"k0", "k1", "k2"}
    assert not [change for change in rests(plane) if change[2] and change[1] == "invalid_key"]


async def test_a_bad_request_beside_good_ones_disturbs_none(plane: Plane, provider: StrictProvider) -> None:
    """While it goes from key to key, each key that it suspects rests for one round trip at most."""
    provider.faults.append(Fault(model="bad", dead=True))
    replies = await asyncio.gather(*(plane.chat(model="bad" if n % 5 == 0 else f"good-{n % 2}") for n in range(40)))
    assert [reply.status for reply in replies] == [401 if n % 5 == 0 else 200 for n in range(40)]
    assert [(await plane.chat()).attempts for _ in range(3)] == [1, 1, 1]


async def test_no_access_to_a_model_is_the_requests_fault_after_three_accounts() -> None:
    """Neither the other keys nor the other models are touched."""
    async with (
        StrictProvider(new_keys(5)) as provider,
        sidecar({"chat": pool(provider.url, [*provider.accounts])}) as plane,
    ):
        provider.faults.append(Fault(status=403, model="gpt-4o", body=NO_MODEL))
        reply = await plane.chat()
        assert (reply.status, reply.attempts) == (403, 3)
        assert reply.data == NO_MODEL
        provider.faults.clear()
        replies = [await plane.chat() for _ in range(5)]
        assert {reply.key for reply in replies} == {"k0", "k1", "k2", "k3", "k4"}
        assert {reply.attempts for reply in replies} == {1}


async def test_keys_without_money_are_told_in_words(plane: Plane, provider: StrictProvider) -> None:
    """First the provider's own answer, as all said the same; then 503 without a send: how many, for what, how long.

    An hour's rest, which a real request may try after a quarter of one: that is when to come back.
    """
    provider.faults.append(Fault(status=429, body=NO_MONEY))
    first = await plane.chat()
    assert (first.status, first.attempts, first.data) == (429, 3, NO_MONEY)
    second = await plane.chat()
    assert (second.status, second.attempts) == (503, 0)
    assert second.data["error"]["code"] == "no_usable_key"
    assert "3 for quota_exhausted_billing of 3 keys, the first until 35" in second.data["error"]["message"]
    assert 890 < int(second.headers["retry-after"]) <= 900
    health = await plane.send("GET", "/health")
    assert (health.status, health.data["status"]) == (503, "unhealthy")


async def test_a_dead_key_beside_one_without_budget_is_a_429(provider: StrictProvider) -> None:
    """A key without budget does not agree that the request is bad, and cannot prove that the other is dead."""
    dead, other = secrets_of(provider)[:2]
    limit = {"requests": 1, "per": "minute"}
    async with sidecar({"chat": pool(provider.url, [dead, other], limits=[limit], max_wait="0s")}) as plane:
        assert (await plane.chat()).key == "k0"
        provider.faults.append(Fault(key=other, dead=True))
        reply = await plane.chat()
        assert (reply.status, reply.attempts) == (429, 1)
        assert not [change for change in rests(plane) if change[2] and change[1] == "invalid_key"]


# --- faults of the provider -------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529])
async def test_a_fault_of_the_provider_goes_to_another_key_and_rests_none(
    plane: Plane, provider: StrictProvider, status: int
) -> None:
    provider.faults.append(Fault(status=status, times=1))
    reply = await plane.chat()
    assert (reply.status, reply.key, reply.attempts) == (200, "k1", 2)
    assert [(await plane.chat()).key for _ in range(3)] == ["k2", "k0", "k1"]
    assert rests(plane) == []


async def test_a_provider_that_is_down_gets_max_attempts_and_its_answer_passes(provider: StrictProvider) -> None:
    """Also more attempts than keys."""
    provider.faults.append(Fault(status=503, body={"error": {"message": "down"}}))
    async with sidecar({"chat": pool(provider.url, secrets_of(provider)[:2], max_attempts=4)}) as plane:
        reply = await plane.chat()
        assert (reply.status, reply.attempts, reply.data) == (503, 4, {"error": {"message": "down"}})
        assert sorted(provider.counts().values()) == [0, 2, 2]
        assert (await plane.answered()).outcome in {"overloaded", "server_error"}


async def test_what_may_have_been_done_is_not_done_twice(plane: Plane, provider: StrictProvider) -> None:
    """An image costs money twice; `retry_unsafe` allows it. A 429 was not executed and goes on."""
    image = {"model": "dall-e-3", "prompt": "a cat"}
    provider.faults.append(Fault(status=500))
    reply = await plane.post("/v1/images/generations", image)
    assert (reply.status, reply.attempts) == (500, 1)
    provider.faults[:] = [Fault(close="before")]
    reply = await plane.post("/v1/images/generations", image)
    assert (reply.status, reply.attempts) == (502, 1)
    provider.faults[:] = [Fault(status=429, headers={"retry-after": "9"}, times=1)]
    reply = await plane.post("/v1/images/generations", image)
    assert (reply.status, reply.attempts) == (200, 2)
    assert len(provider.arrivals) == 4


@pytest.mark.parametrize("fields", [{"tools": [{"type": "image_generation"}]}, {"conversation": "conv_kept1234"}])
async def test_neither_is_a_response_that_does_more_than_answer(
    plane: Plane, provider: StrictProvider, fields: dict[str, Any]
) -> None:
    """Its tool would paint a second image, or the conversation have everything twice."""
    response = {"model": "gpt-4o", "input": "a cat"}
    provider.faults.append(Fault(status=500, times=1))
    reply = await plane.post("/v1/responses", response | fields)
    assert (reply.status, reply.attempts) == (500, 1)
    provider.faults[:] = [Fault(status=500, times=1)]
    reply = await plane.post("/v1/responses", response)
    assert (reply.status, reply.attempts) == (200, 2)


async def test_retry_unsafe_retries_everything(provider: StrictProvider) -> None:
    async with sidecar({"chat": pool(provider.url, secrets_of(provider), retry_unsafe=True)}) as plane:
        provider.faults.append(Fault(status=500, times=1))
        reply = await plane.post("/v1/images/generations", {"model": "dall-e-3", "prompt": "a cat"})
        assert (reply.status, reply.attempts) == (200, 2)


async def test_a_provider_that_hangs_is_left_at_the_timeout(provider: StrictProvider) -> None:
    """504 in the dialect; the attempt is cancelled at the provider and told of."""
    provider.faults.append(Fault(hang=True))
    async with sidecar({"chat": pool(provider.url, secrets_of(provider), timeout="400ms", max_wait="0s")}) as plane:
        reply = await plane.chat()
        assert (reply.status, reply.attempts, reply.data["error"]["code"]) == (504, 1, "timeout")
        await provider.wait_for(lambda: provider.arrivals[0].ended == "cancelled")
        assert [event.outcome for event in plane.of(Attempted)] == ["timeout"]


async def test_a_deadline_while_connecting_gives_the_grant_back_and_is_no_send() -> None:
    """Whoever listens there accepts, and says nothing of TLS."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    limit = {"requests": 1, "per": "minute"}
    async with await asyncio.start_server(listen, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        told = pool(f"https://127.0.0.1:{port}", new_keys(1), limits=[limit], max_wait="0s", timeout="400ms")
        async with sidecar({"chat": told}) as plane:
            for _ in range(2):
                reply = await plane.chat()
                assert (reply.status, reply.attempts, reply.data["error"]["code"]) == (504, 1, "timeout")
            assert [event.outcome for event in plane.of(Attempted)] == ["connect", "connect"]


async def test_a_refused_connection_gives_its_grant_back() -> None:
    """Every key is asked, none pays: the budget of one a minute is there again and again."""
    limit = {"requests": 1, "per": "minute"}
    dead = pool(f"http://127.0.0.1:{free_port()}", new_keys(2), limits=[limit], max_wait="0s", max_attempts=2)
    async with sidecar({"chat": dead}) as plane:
        for _ in range(3):
            reply = await plane.chat()
            assert (reply.status, reply.attempts) == (502, 2)
            assert reply.data["error"]["code"] == "upstream_unreachable"
        assert {event.outcome for event in plane.of(Attempted)} == {"connect"}


async def test_a_host_that_does_not_exist_is_502_without_its_keys() -> None:
    secrets = new_keys(1)
    async with sidecar({"chat": pool("http://nowhere.invalid", secrets, max_attempts=1)}) as plane:
        reply = await plane.chat()
        assert reply.status == 502
        assert secrets[0].encode() not in reply.body


async def test_the_next_target_serves_when_the_first_is_spent(provider: StrictProvider) -> None:
    """Every key of one before the next; the headers say which model answered."""
    secrets = secrets_of(provider)
    provider.faults.append(Fault(model="big", status=429, headers={"retry-after": "60"}))
    pools = {"one": pool(provider.url, secrets[:2]), "two": pool(provider.url, secrets[2:])}
    routes = {"best": [{"pool": "one", "model": "big"}, {"pool": "two", "model": "small"}]}
    async with sidecar(pools, routes=routes) as plane:
        reply = await plane.chat(model="best")
        assert (reply.status, reply.attempts) == (200, 3)
        assert reply.headers["x-sidecar-pool"] == "two"
        assert reply.headers["x-sidecar-model"] == "small"
        assert json.loads(provider.calls[-1].body)["model"] == "small"


async def test_a_clients_mistake_is_asked_once_and_passes(plane: Plane, provider: StrictProvider) -> None:
    wrong: dict[str, Any] = {"error": {"message": "Invalid value: 'x'", "type": "invalid_request_error", "code": None}}
    provider.faults.append(Fault(status=400, body=wrong))
    reply = await plane.chat()
    assert (reply.status, reply.attempts, reply.data) == (400, 1, wrong)
    assert rests(plane) == []


async def test_a_stale_connection_is_not_used_twice_behind_our_back() -> None:
    """The HTTP client repeats a GET by itself when a kept connection breaks; one grant is one send all the same."""

    async def answer(exchange: Exchange) -> None:
        if len(upstream.heard) == 2:
            exchange.cut()
        else:
            await exchange.reply(b"{}")

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(4))}) as plane:
        assert (await plane.send("GET", "/v1/files")).grant == 0
        reply = await plane.send("GET", "/v1/files")
        assert (reply.status, reply.attempts) == (200, 2)
        sent = [heard.header("authorization")[0] for heard in upstream.heard]
        assert len(sent) == len(set(sent)) == 3
        assert reply.grant == 2


async def test_where_every_key_is_disabled_the_answer_says_so_and_nothing_is_sent(provider: StrictProvider) -> None:
    """Readiness goes too: others may serve."""
    async with sidecar({"chat": pool(provider.url, list(provider.accounts))}) as plane:
        state = plane.replica.state
        for key in state.config.pools["chat"].keys:
            await plane.replica.store.disable(key, "op")
        reply = await plane.chat()
        assert reply.status == 503
        assert "for disabled of" in reply.data["error"]["message"]
        assert not provider.calls
        assert await plane.replica.unready() == "no pool has a usable key"
