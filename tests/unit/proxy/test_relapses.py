"""A call that is heard may prove nothing: a key that dies again soon after it came back is tried ever more rarely."""

from __future__ import annotations

import secrets

from sidecar.proxy.reviving import Deaths
from sidecar.simulate.failures import Fault
from tests.proxy.plane import pool, sidecar
from tests.unit.proxy.test_reviving import asked, probes, skip, tried, world


async def test_key_that_a_public_call_revives_for_nothing_is_tried_ever_more_rarely(redis_url: str) -> None:
    """Its list of models is for everybody: heard each time, and each time the next request is refused. A replica that
    never made the call itself sees it as well."""
    shared = {"redis": redis_url, "namespace": secrets.token_hex(6)}
    async with world(2, **shared) as (provider, plane):
        provider.faults.append(Fault(key=next(iter(provider.accounts)), path="/v1/chat", dead=True))
        async with sidecar({"chat": pool(provider.url, list(provider.accounts))}, **shared) as other:
            seen = [Deaths(), Deaths()]
            for minutes in (1, 2, 4, 8):
                replies = [await asked(plane) for _ in range(2)]
                assert [reply.key for reply in replies] == ["k1", "k1"]
                assert sum(reply.attempts for reply in replies) == 3  # k0 was revived, and refused
                before = probes(provider)
                await tried(plane, deaths=seen[0])
                await tried(other, deaths=seen[1])
                await skip(plane, 60 * minutes - 2)
                await tried(other, deaths=seen[1])
                await tried(plane, deaths=seen[0])
                assert probes(provider) == before
                await skip(plane, 3)
                await tried(plane, deaths=seen[0])
                assert probes(provider) == before + 1


async def test_key_that_served_for_long_before_it_died_again_is_tried_as_any_other() -> None:
    async with world(2) as (provider, plane):
        fault, deaths = Fault(key=next(iter(provider.accounts)), dead=True), Deaths()
        for served in (0, 901):
            provider.faults[:] = []
            await skip(plane, served)
            provider.faults[:] = [fault]
            assert {(await asked(plane)).key for _ in range(2)} == {"k1"}
            await tried(plane, deaths=deaths)
            provider.faults[:] = []
            await skip(plane, 61)
            before = probes(provider)
            await tried(plane, deaths=deaths)
            assert probes(provider) == before + 1
