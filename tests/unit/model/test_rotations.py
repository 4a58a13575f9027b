"""A rotation has the keys that may serve a model, in config order, and is another one as soon as anything differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from sidecar.model.configured import Auth, Cooldowns, Key, Limit, Pool, Provider, Secret
from sidecar.model.rotations import rotation

PROVIDER = Provider("own", "http://own.test", Auth("none"), {})
MINUTE = Limit("requests", 15, 60_000_000, 1_000_000)
PRO = Limit("requests", 2, 60_000_000, 1_000_000, "*-pro")


def key(name: str, account: str = "", models: tuple[str, ...] = ()) -> Key:
    return Key(name, Secret(f"secret-{name}"), f"fp-{name}", account or f"acc-{name}", models=models)


POOL = Pool("chat", PROVIDER, (key("a"), key("b"), key("c", models=("gpt-4*", "o1"))))
BUDGETS = {"acc-a": (MINUTE, PRO), "acc-b": (MINUTE, PRO), "acc-c": (MINUTE,)}

Change = Callable[[Pool, dict[str, tuple[Limit, ...]]], tuple[Pool, dict[str, tuple[Limit, ...]]]]


def test_members_are_the_keys_that_may_serve_the_model_in_config_order() -> None:
    assert [member.id for member in rotation(POOL, BUDGETS, "gpt-4o").members] == ["a", "b", "c"]
    assert [member.id for member in rotation(POOL, BUDGETS, "gpt-3.5").members] == ["a", "b"]
    assert [member.order for member in rotation(POOL, BUDGETS, "o1").members] == [0, 1, 2]


def test_members_point_to_their_own_limits() -> None:
    """Keys with the same limits share a set; a limit for other models is left out of it."""
    turns = rotation(POOL, BUDGETS, "o1")
    assert [turns.limits[member.limits] for member in turns.members] == [(MINUTE,)] * 3
    turns = rotation(POOL, BUDGETS, "gemini-pro")
    assert [turns.limits[member.limits] for member in turns.members] == [(MINUTE, PRO)] * 2


def test_key_without_budget_has_no_limits() -> None:
    turns = rotation(POOL, {}, "o1")
    assert {turns.limits[member.limits] for member in turns.members} == {()}


def test_pool_without_a_key_for_the_model_has_no_members() -> None:
    assert rotation(replace(POOL, keys=(key("a", models=("x",)),)), {}, "y").members == ()


def _budget(limit: Limit) -> Change:
    return lambda pool, budgets: (pool, budgets | {"acc-a": (limit, PRO)})


def _keys(*keys: Key) -> Change:
    return lambda pool, budgets: (replace(pool, keys=keys), budgets)


A, B, C = POOL.keys
CHANGES: dict[str, Change] = {
    "a raised maximum": _budget(replace(MINUTE, max=16)),
    "a longer window": _budget(replace(MINUTE, window_us=90_000_000)),
    "another guard": _budget(replace(MINUTE, guard_us=2_000_000)),
    "a limit gone": lambda pool, budgets: (pool, budgets | {"acc-a": (PRO,)}),
    "a key gone": _keys(A, C),
    "a key more": _keys(A, B, C, key("d")),
    "another order": _keys(B, A, C),
    "another id": _keys(replace(A, id="z"), B, C),
    "another secret": _keys(replace(A, fingerprint="fp-new"), B, C),
    "another account": _keys(replace(A, account="acc-b"), B, C),
    "another weight": _keys(replace(A, weight=3), B, C),
}
SAME: dict[str, Change] = {
    "the very same": lambda pool, budgets: (pool, budgets),
    "limits of strangers": lambda pool, budgets: (pool, budgets | {"acc-x": (MINUTE,)}),
    "cooldowns, waits, timeouts": lambda pool, budgets: (
        replace(pool, cooldowns=Cooldowns(1, 2), max_wait_us=3, max_attempts=4, timeout_s=5.0),
        budgets,
    ),
    "where a key was read": _keys(replace(A, origin="elsewhere"), B, C),
    "the provider's address": lambda pool, budgets: (replace(pool, provider=replace(PROVIDER, base_url="x")), budgets),
}


@pytest.mark.parametrize("name", CHANGES)
def test_digest_changes_with_members_and_limits(name: str) -> None:
    """A replica with another config has a rotation of its own: also for a maximum, whose keys are parked otherwise."""
    pool, budgets = CHANGES[name](POOL, dict(BUDGETS))
    assert rotation(pool, budgets, "gemini-pro").digest != rotation(POOL, BUDGETS, "gemini-pro").digest


@pytest.mark.parametrize("name", SAME)
def test_digest_stays_with_all_else(name: str) -> None:
    """Else a reload of anything would start the turn order anew."""
    pool, budgets = SAME[name](POOL, dict(BUDGETS))
    now, before = rotation(pool, budgets, "gemini-pro"), rotation(POOL, BUDGETS, "gemini-pro")
    assert now == replace(before, way=now.way)


def test_rotation_knows_its_provider_where_that_has_a_breaker() -> None:
    """And is another without: what the scripts are told of it is kept by it."""
    with_it, without = rotation(POOL, BUDGETS, "m"), rotation(replace(POOL, breaker=None), BUDGETS, "m")
    assert (with_it.way, without.way) == (POOL.way, "")
    assert with_it != without


def test_digest_is_the_same_for_models_with_the_same_limits() -> None:
    """So that models beyond the 256th walk one shared rotation."""
    assert rotation(POOL, BUDGETS, "x1").digest == rotation(POOL, BUDGETS, "x2").digest


def test_rotation_names_no_secret() -> None:
    turns = rotation(POOL, BUDGETS, "o1")
    assert "secret-" not in repr(turns) + "".join(member.text for member in turns.members)
