"""Any HTTP API below `/pools/{pool}/`: forwarded as it is, judged as its path tells."""

from __future__ import annotations

import json

from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import CHAT, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream


async def test_any_api_is_forwarded_with_a_key(provider: StrictProvider) -> None:
    """Method, path, query and body are the client's own; a key that the API does not like is left for another."""
    keys = [{"id": f"k{at}", "secret": secret} for at, secret in enumerate(provider.accounts)]
    async with sidecar({"own": {"base_url": f"{provider.url}/echo", "keys": keys}}) as plane:
        reply = await plane.send("PUT", "/pools/own/deep/er?x=1&y", {"Content-Type": "text/csv"}, b"a,b\n")
        assert (reply.status, reply.key, reply.headers["x-sidecar-pool"]) == (200, "k0", "own")
        assert (reply.data["method"], reply.data["path"], reply.data["query"]) == ("PUT", "/echo/deep/er", "x=1&y")
        provider.faults.append(Fault(key=keys[1]["secret"], status=429, headers={"retry-after": "60"}))
        reply = await plane.send("DELETE", "/pools/own/thing")
        assert (reply.status, reply.key, reply.attempts) == (200, "k2", 2)
        reply = await plane.send("GET", "/pools/own")
        assert reply.data["path"].rstrip("/") == "/echo"


async def test_a_plain_post_is_not_done_twice_when_it_may_have_been_done(provider: StrictProvider) -> None:
    keys = [{"id": f"k{at}", "secret": secret} for at, secret in enumerate(provider.accounts)]
    async with sidecar({"own": {"base_url": f"{provider.url}/echo", "keys": keys}}) as plane:
        provider.faults.append(Fault(status=500))
        assert (await plane.post("/pools/own/pay", b"{}")).attempts == 1
        assert (await plane.send("GET", "/pools/own/pay")).attempts > 1


async def test_a_pools_own_dialect_reads_the_answers(provider: StrictProvider) -> None:
    """A dead key of an OpenAI pool is known as one on a path that no dialect covers."""
    async with sidecar({"chat": pool(provider.url, [*provider.accounts])}) as plane:
        provider.faults.append(Fault(key=next(iter(provider.accounts)), dead=True))
        reply = await plane.post("/pools/chat/v1/chat/completions", CHAT)
        assert (reply.status, reply.key, reply.attempts) == (200, "k1", 2)
        assert json.loads(provider.calls[-1].body) == CHAT
        assert provider.calls[-1].path == "/v1/chat/completions"


async def test_the_model_of_a_plain_call_has_a_rotation_of_its_own() -> None:
    """Where its JSON names one; a call without one has the pool's."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(b"{}")

    async with RawUpstream(answer) as upstream:
        keys = [{"id": "a", "secret": "sk-aaaa"}, {"id": "b", "secret": "sk-bbbb"}]
        async with sidecar({"own": {"base_url": upstream.url, "keys": keys}}) as plane:
            grants = [
                (reply.grant, reply.key, reply.headers["x-sidecar-model"])
                for body in (b'{"model": "m"}', b"text", b'{"model": "m"}', b"", b'{"model": "n"}')
                for reply in [await plane.post("/pools/own/x", body)]
            ]
            assert grants == [(0, "a", "m"), (0, "a", ""), (1, "b", "m"), (1, "b", ""), (0, "a", "n")]
