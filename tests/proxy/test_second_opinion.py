"""A thing that one account does not find is asked of one other account, once; if that says the same, it is so."""

from __future__ import annotations

import json

import pytest

from tests.proxy.plane import new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream

MISSING = {"error": {"message": "No such File object: file-1"}}
TOO_LONG = {
    "error": {"code": "context_length_exceeded", "message": "This model's maximum context length is 10 tokens."}
}


async def _say(exchange: Exchange, status: int, body: object) -> None:
    await exchange.reply(json.dumps(body).encode(), f"{status} As Told")


async def test_if_the_other_says_the_same_the_first_of_both_passes() -> None:
    async def answer(exchange: Exchange) -> None:
        await _say(exchange, 404, MISSING | {"attempt": len(upstream.heard)})

    async with RawUpstream(answer) as upstream, sidecar({"a": pool(upstream.url, new_keys(4))}) as plane:
        reply = await plane.chat()
        assert (reply.status, reply.data["attempt"], reply.key, reply.attempts) == (404, 1, "k0", 2)


@pytest.mark.parametrize("before", [401, 429, 500, 503])
async def test_what_was_met_before_it_is_not_what_passes(before: int) -> None:
    """A failure that another key made good was no opinion of the request."""

    async def answer(exchange: Exchange) -> None:
        attempt = len(upstream.heard)
        told = (before, {"error": {"message": "not this key, not now"}}) if attempt == 1 else (404, MISSING)
        await _say(exchange, told[0], told[1] | {"attempt": attempt})

    async with RawUpstream(answer) as upstream, sidecar({"a": pool(upstream.url, new_keys(4))}) as plane:
        reply = await plane.chat()
        assert (reply.status, reply.data["attempt"], reply.key, reply.attempts) == (404, 2, "k1", 3)


@pytest.mark.parametrize("accounts", [1, 2])
async def test_behind_a_target_that_was_passed_over_the_last_ones_answer_passes(accounts: int) -> None:
    """Also where it has no other account to ask."""

    async def answer(exchange: Exchange) -> None:
        told = (400, TOO_LONG) if exchange.target.startswith(b"/a") else (404, MISSING)
        await _say(exchange, *told)

    async with RawUpstream(answer) as upstream:
        pools = {"a": pool(f"{upstream.url}/a", new_keys(2)), "b": pool(f"{upstream.url}/b", new_keys(accounts))}
        route = {"targets": [{"pool": "a"}, {"pool": "b"}], "fallback_on": ["context_too_long"]}
        async with sidecar(pools, routes={"asked": route}) as plane:
            reply = await plane.chat(model="asked")
            assert (reply.status, reply.data, reply.headers["x-sidecar-pool"]) == (404, MISSING, "b")
