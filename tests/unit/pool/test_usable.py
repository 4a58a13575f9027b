"""How many keys of a pool could serve at all."""

from __future__ import annotations

from sidecar.model.classes import Class
from sidecar.model.words import Report, Rest, Subject
from tests.unit.pool.configs import config, key, pool
from tests.unit.pool.conftest import World

HOUR_US = 3600 * 1_000_000


async def test_only_what_rests_proved_as_dead_for_all_models_is_unusable(world: World) -> None:
    """Also where every key lists the models that it serves; a rest of a budget or of one model does not count."""
    keys = [key(f"k{n}", models=["gpt-*"]) for n in range(5)]
    pools, store = world.pools(config(pool(keys=keys)))
    dead, suspected, spent, of_model, _ = (Subject(one.account, one.fingerprint) for one in keys)
    rests = (
        Rest(dead, HOUR_US, Class.INVALID_KEY),
        Rest(suspected, HOUR_US, Class.INVALID_KEY, proved=False),
        Rest(Subject(spent.account), HOUR_US, Class.RATE_LIMIT_DAY),
        Rest(Subject(of_model.account, of_model.key, "gpt-4o"), HOUR_US, Class.PERMISSION),
    )
    assert await pools.sight.usable("p") == 5
    store.report(Report("r", rests), (), lambda _: None)
    await store.settled()
    assert await pools.sight.usable("p") == 4
