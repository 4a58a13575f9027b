"""What a refusal says of the account that alone could have served, and with whom a client's things come together."""

from __future__ import annotations

from typing import Any, cast

import pytest

from sidecar.model.configured import Auth, Config, Key, Pool, Provider, Secret, Strategy, Target
from sidecar.proxy.belonging import LONG_S, Accounts, Belongs
from sidecar.proxy.errors import Refused, bad_request, busy, out_of_budget, over_limit

NOTHING = cast(Any, None)
WHY = "file-1 was made with chat/k0, and no other account can use it."


def belongs(why: str = WHY) -> Belongs:
    return Belongs(NOTHING, NOTHING, Accounts(Config({})), "web", {}, why=why)


@pytest.mark.parametrize(
    "refused", [out_of_budget(5_000_000), busy(), Refused(503, "no_usable_key", "Every key rests.")]
)
def test_what_lacks_a_key_says_why_no_other_was_asked(refused: Refused) -> None:
    told = belongs().told(refused)
    assert told.message == f"{WHY} {refused.message}"
    assert (told.status, told.code, told.headers) == (refused.status, refused.code, refused.headers)


@pytest.mark.parametrize(
    "refused", [over_limit("web", 5_000_000), bad_request("No."), Refused(504, "timeout", "Late.")]
)
def test_what_lacks_no_key_is_not_blamed_on_the_account(refused: Refused) -> None:
    """A client's own limit would have refused it whatever it named."""
    assert belongs().told(refused) is refused


def test_without_a_reason_nothing_is_added() -> None:
    refused = out_of_budget(1)
    assert belongs("").told(refused) is refused


CLIENTS = [f"client-{at}" for at in range(400)]


def accounts(*keys: Key, strategy: Strategy = "round_robin") -> Accounts:
    provider = Provider("openai", "http://127.0.0.1:1/v1", Auth("bearer"), {})
    return Accounts(Config({"chat": Pool("chat", provider, keys, strategy)}))


def key(account: str, **more: Any) -> Key:
    return Key(account, Secret(account), account, account, **more)


def chosen(among: Accounts, client: str) -> str:
    return among.gathering(Target("chat", ""), client).prefers


def test_each_client_has_one_account_and_an_account_about_as_many_clients() -> None:
    """And where one goes, only its clients move."""
    before, after = accounts(*map(key, "abcd")), accounts(*map(key, "abc"))
    of = {client: chosen(before, client) for client in CLIENTS}
    assert of == {client: chosen(before, client) for client in CLIENTS}
    assert all(70 < [*of.values()].count(account) < 130 for account in "abcd")
    moved = {client for client in CLIENTS if chosen(after, client) != of[client]}
    assert moved == {client for client in CLIENTS if of[client] == "d"}


@pytest.mark.parametrize(
    ("strategy", "keys", "share"),
    [
        ("weighted", (key("a", weight=9), key("b", weight=1)), 0.9),
        ("priority", (key("a", priority=0), key("b", priority=1)), 1.0),
        ("fill_first", (key("a"), key("b")), 1.0),
        ("least_used", (key("a"), key("b")), 0.5),
        ("round_robin", (key("a"), key("b", models=("m",))), 1.0),
    ],
)
def test_no_account_is_preferred_to_those_that_its_pools_strategy_asks_first(
    strategy: Strategy, keys: tuple[Key, ...], share: float
) -> None:
    among = accounts(*keys, strategy=strategy)
    assert [chosen(among, client) for client in CLIENTS].count("a") / len(CLIENTS) == pytest.approx(share, abs=0.07)


def test_who_cannot_use_its_things_for_long_gets_no_more_of_them() -> None:
    """A minute's budget comes back before the flow that waits for it is over."""
    among = accounts(*map(key, "ab"))
    first = chosen(among, "web")
    Belongs(NOTHING, NOTHING, among, "web", {}, account=first, why=WHY).told(out_of_budget(60_000_000))
    assert chosen(among, "web") == first
    lasting = out_of_budget(int(LONG_S) * 1_000_000)
    Belongs(NOTHING, NOTHING, among, "web", {}, account=first, why=WHY).told(lasting)
    assert chosen(among, "web") != first
