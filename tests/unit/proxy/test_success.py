"""What a success changes, on each kind of store: nothing of a rest that began after its grant."""

from __future__ import annotations

import pytest

from sidecar.model.outcomes import Outcome
from sidecar.model.words import Subject
from sidecar.pool.pool import Pools
from sidecar.pool.search import Held
from sidecar.proxy.progress import Next, Progress
from sidecar.store.names import rest_field
from tests.unit.pool.configs import config, held, pool, search
from tests.unit.pool.conftest import World
from tests.unit.proxy.requests import INVALID, MINUTE, OK


def learn(pools: Pools, request: str, one: Held, met: Outcome, status: int) -> Next:
    progress = Progress(pools, search(request=request), repeatable=lambda: True)
    return progress.learn(one, met, status, one.moment_at)


@pytest.mark.parametrize("met", [MINUTE, INVALID])
async def test_success_of_a_request_granted_before_a_rest_began_changes_nothing_of_it(
    world: World, met: Outcome
) -> None:
    """Rest or suspicion: text for text what it was, and the key is still passed over."""
    pools, store = world.pools(config(pool(keys=2)))
    early, _, late = [held(await pools.acquire(search())) for _ in range(3)]
    assert early.key == late.key
    learn(pools, "late", late, met, 429)
    await store.settled()
    fields = [rest_field(Subject("acc-k0", None, "m")), rest_field(Subject("acc-k0", "fp-k0"))]
    before = (await store.inspect(fields)).fields
    assert any(before.values())
    learn(pools, "early", early, OK, 200)
    await store.settled()
    assert (await store.inspect(fields)).fields == before
    got = [held(await pools.acquire(search())) for _ in range(3)]
    assert {one.key.id for one in got} == {"k1"}
