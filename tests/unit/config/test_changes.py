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


def test_the_order_of_pools_matters(desk: Desk) -> None:
    """A bare model goes to the first pool that can serve it."""
    two: dict[str, Any] = {"one": POOL.splitlines()[3:], "two": POOL.replace("sk-", "sk-x").splitlines()[3:]}

    def document(*names: str) -> str:
        return "pools:\n" + "".join(f"  {name}:\n" + "\n".join(two[name]) + "\n" for name in names)

    old, new = desk.load(document("one", "two")), desk.load(document("two", "one"))
    assert not same(old, new)
    assert changes(old, new) == ("the order of the pools changed",)
