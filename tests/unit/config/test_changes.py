"""A reload says what it changed, by names and ids."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.config.changes import changes, same
from tests.unit.config.conftest import Desk

POOL = """
pools:
  chat:
    provider: openai
    keys:
      - {id: a, secret: sk-a0a1b2c3d4e5f60718293}
      - {id: b, secret: sk-b0a1b2c3d4e5f60718293}
    limits: [{requests: 15, per: minute}]
"""
KEY_A, KEY_B = POOL.splitlines()[5:7]
ROUTES = "routes: {big: [{pool: chat, model: gpt-4o}]}\n"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (POOL, POOL, []),
        (POOL, POOL.replace(KEY_B + "\n", ""), ["pool chat: 1 key removed: b"]),
        (POOL.replace(KEY_A + "\n", ""), POOL, ["pool chat: 1 key added: a"]),
        (POOL, POOL.replace("sk-a0", "sk-c0"), ["pool chat: 1 key with another secret: a"]),
        (POOL, POOL.replace("id: a,", "id: a, models: [gpt-4o],"), ["pool chat: 1 key with other settings: a"]),
        (POOL, POOL.replace("id: a,", "id: a, account: acme,"), ["pool chat: the account of a is now acme"]),
        (POOL.replace("id: ", "account: acme, id: "), POOL, ["pool chat: the account of a, b is their own now"]),
        (POOL, POOL.replace("15", "30"), ["pool chat: 2 keys with other limits: a, b"]),
        (POOL, POOL.replace(f"{KEY_A}\n{KEY_B}", f"{KEY_B}\n{KEY_A}"), ["pool chat: the order of its keys changed"]),
        (POOL, POOL + "    max_wait: 3s\n    timeout: 5s\n", ["pool chat: max_wait, timeout changed"]),
        (
            POOL,
            POOL + "    idle_timeout: 3s\n    first_byte_timeout: 5s\nkeepalive: 5s\ncache: {max_total: 1MiB}\n",
            [
                "pool chat: first_byte_timeout, idle_timeout changed",
                "cache changed",
                "cache.max_total changed",
                "keepalive changed",
            ],
        ),
        (POOL, POOL.replace("chat:", "talk:"), ["pool chat removed", "pool talk added: a, b"]),
        (POOL, POOL + ROUTES, ["route big added"]),
        (POOL + ROUTES, POOL, ["route big removed"]),
        (POOL + ROUTES, POOL + ROUTES.replace("4o", "5"), ["route big changed"]),
        (POOL, POOL + "clients: [{id: web, token: 0123456789-token}]\n", ["client web added"]),
        (POOL, POOL + "hosts: [a.example]\nmax_body: 1MiB\n", ["max_body changed", "hosts changed"]),
        (POOL, POOL + "admin_token: a-token-0a1b2c3d\n", ["admin_token changed"]),
    ],
)
def test_each_change_is_told(desk: Desk, before: str, after: str, told: list[str]) -> None:
    old, new = desk.load(before), desk.load(after)
    assert list(changes(old, new)) == told
    assert same(old, new) is (not told)
    for secret in ("a0a1b2c3", "b0a1b2c3", "c0a1b2c3", "token-", "a-token"):
        assert secret not in "".join(changes(old, new))


ENV = "pools: {c: {provider: openai, keys: {from_env: SK}, limits: [{requests: 9, per: day}]}}\n"
ONE, TWO, THREE = ("sk-a0a1b2c3d4e5f60718293", "sk-b0a1b2c3d4e5f60718293", "sk-c0a1b2c3d4e5f60718293")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            {"SK": ONE, "SK_1": TWO},
            {"SK_1": TWO, "SK_2": THREE},
            ["1 key removed: c-1", "1 key added: c-2", "1 key with another id: c-1 (was c-2)"],
        ),
        ({"SK": ONE, "SK_1": TWO}, {"SK_1": TWO}, ["1 key removed: c-1", "1 key with another id: c-1 (was c-2)"]),
        ({"SK_1": TWO}, {"SK": ONE, "SK_1": TWO}, ["1 key added: c-1", "1 key with another id: c-2 (was c-1)"]),
        ({"SK": ONE}, {"SK": TWO}, ["1 key removed: c-1", "1 key added: c-1"]),
        (
            {"SK": ONE, "SK_1": TWO},
            {"SK": TWO, "SK_1": ONE},
            ["2 keys with another id: c-1 (was c-2), c-2 (was c-1)", "the order of its keys changed"],
        ),
    ],
)
def test_keys_that_are_named_by_position_are_told_by_their_secrets(
    desk: Desk, before: dict[str, str], after: dict[str, str], told: list[str]
) -> None:
    """From the environment and from `.env` alike: the first variable may go, and all others are counted anew."""
    old, new = desk.load(ENV, before), desk.load(ENV, after)
    assert list(changes(old, new)) == [f"pool c: {one}" for one in told]
    desk.write(".env", "".join(f"{name}={secret}\n" for name, secret in after.items()))
    assert changes(old, desk.load(ENV)) == changes(old, new)


def test_a_key_with_another_id_is_told_with_all_else_that_it_has(desk: Desk) -> None:
    """And two that swap their secrets under ids of the file have other secrets."""
    old = desk.load(POOL)
    renamed = desk.load(POOL.replace("id: a,", "id: first, models: [gpt-4o], account: acme,"))
    assert changes(old, renamed) == (
        "pool chat: 1 key with another id: first (was a)",
        "pool chat: 1 key with other settings: first",
        "pool chat: the account of first is now acme",
    )
    swapped = desk.load(POOL.replace("sk-a0", "sk-x0").replace("sk-b0", "sk-a0").replace("sk-x0", "sk-b0"))
    assert changes(old, swapped) == ("pool chat: 2 keys with another secret: a, b",)


def test_the_order_of_pools_matters(desk: Desk) -> None:
    """A bare model goes to the first pool that can serve it."""
    two: dict[str, Any] = {"one": POOL.splitlines()[3:], "two": POOL.replace("sk-", "sk-x").splitlines()[3:]}

    def document(*names: str) -> str:
        return "pools:\n" + "".join(f"  {name}:\n" + "\n".join(two[name]) + "\n" for name in names)

    old, new = desk.load(document("one", "two")), desk.load(document("two", "one"))
    assert not same(old, new)
    assert changes(old, new) == ("the order of the pools changed",)
