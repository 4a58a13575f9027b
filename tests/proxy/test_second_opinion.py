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


JOB = "3e8ff5c1-0b7e-4c9a-9a55-6d2c1f0f7a11"
UNKNOWN = {
    "voice consent": ("openai", "/v1/audio/voice_consents/cons_6aUNKNOWN12345", {"error": {"message": "Not there"}}),
    "mistral": ("mistral", f"/v1/batch/jobs/{JOB}", {"object": "error", "message": "Job not found", "code": "1800"}),
    "xai": ("xai", f"/v1/chat/deferred-completion/{JOB}", {"code": "Gone", "error": "Deferred request not found."}),
    "perplexity": ("perplexity", f"/v1/async/sonar/{JOB}", {"error": {"message": "Request not found", "code": 404}}),
    "anthropic": (
        "anthropic",
        "/v1/messages/batches/msgbatch_011UNKNOWN12345",
        {"type": "error", "error": {"type": "not_found_error", "message": "Not found"}},
    ),
    "empty": ("openai", "/v1/files/file-6aUNKNOWN12345", ""),
}


@pytest.mark.parametrize("name", UNKNOWN)
async def test_what_a_path_names_and_nobody_remembers_is_asked_of_another_by_whatever_404(name: str) -> None:
    """Once it is found, or known to be another's, nobody need be asked again."""
    provider, path, missing = UNKNOWN[name]
    own = new_keys(3)

    async def answer(exchange: Exchange) -> None:
        found = any(own[1] in value for _, value in exchange.headers)
        await _say(exchange, 200 if found else 404, {"id": "x"} if found else missing)

    async with RawUpstream(answer) as upstream:
        base = upstream.url + ("" if provider in {"anthropic", "perplexity"} else "/v1")
        keys = [{"id": f"k{at}", "secret": secret} for at, secret in enumerate(own)]
        headers = {"anthropic-version": "2023-06-01"} if provider == "anthropic" else {}
        async with sidecar({provider: {"provider": provider, "base_url": base, "keys": keys}}) as plane:
            replies = [await plane.send("GET", path, headers) for _ in range(3)]
    assert [(reply.status, reply.key, reply.attempts) for reply in replies] == [(200, "k1", 2)] + [(200, "k1", 1)] * 2


@pytest.mark.parametrize("accounts", [1, 2])
async def test_a_404_of_what_is_no_thing_passes(accounts: int) -> None:
    """A path that there is not is there for no account."""

    async def answer(exchange: Exchange) -> None:
        await _say(exchange, 404, {"error": {"message": "Not Found"}})

    async with RawUpstream(answer) as upstream, sidecar({"a": pool(upstream.url, new_keys(accounts))}) as plane:
        assert (await plane.send("GET", "/v1/assistants/search")).attempts == 1
        assert (await plane.send("GET", "/v1/files/file-6aUNKNOWN12345")).attempts == accounts


RUNS = "/v1/threads/thread_6aUNKNOWN12345/runs"


@pytest.mark.parametrize(("status", "told"), [(None, 502), (500, 500), (404, 404)])
async def test_what_the_second_may_have_done_is_not_told_as_the_first_ones_404(status: int | None, told: int) -> None:
    """A run may be under way there. Either way no SDK is to ask again."""

    async def answer(exchange: Exchange) -> None:
        if len(upstream.heard) > 1 and status is None:
            exchange.cut()
        else:
            await _say(
                exchange, 404 if len(upstream.heard) == 1 else status or 0, {"error": {"message": "No such thing"}}
            )

    async with RawUpstream(answer) as upstream, sidecar({"a": pool(upstream.url, new_keys(3))}) as plane:
        reply = await plane.post(RUNS, {"assistant_id": "a"})
        assert (reply.status, len(upstream.heard), reply.headers.get("x-should-retry")) == (told, 2, "false")
