"""Accounts and budgets over pools: who shares what, and which number holds."""

from __future__ import annotations

from sidecar.model.configured import Config, Limit

from .conftest import Desk

MINUTE, HOUR = 60_000_000, 3_600_000_000


def pools(*entries: str) -> str:
    return "pools:\n" + "\n".join(f"  {entry}" for entry in entries)


def accounts(config: Config) -> list[str]:
    return [key.account for pool in config.pools.values() for key in pool.keys]


def test_key_is_an_account_of_its_own(desk: Desk) -> None:
    config = desk.load(pools("a: {provider: openai, keys: [{id: x, secret: s1}, {id: y, secret: s2}]}"))
    keys = config.pools["a"].keys
    assert [key.account for key in keys] == [key.fingerprint for key in keys]
    assert keys[0].account != keys[1].account


def test_same_secret_in_two_pools_is_one_account(desk: Desk) -> None:
    """It keeps both ids, and the `account:` of either place is that of both."""
    entries = (
        "a: {provider: openai, keys: [{id: x, secret: s1}]}",
        "b: {provider: openai, keys: [{id: y, secret: s1%s}]}",
    )
    config = desk.load(pools(entries[0], entries[1] % ""))
    assert len(set(accounts(config))) == 1
    assert accounts(desk.load(pools(entries[0], entries[1] % ", account: acme"))) == ["=acme", "=acme"]


def test_account_of_a_duplicate_counts(desk: Desk) -> None:
    config = desk.load(pools("a: {provider: openai, keys: [{id: x, secret: s1}, {id: y, secret: s1, account: acme}]}"))
    assert accounts(config) == ["=acme"]


def test_key_limit_replaces_its_pools_of_the_same_name(desk: Desk) -> None:
    """Same unit, window and model pattern: also a higher one; the others of the pool hold too."""
    text = pools(
        "a:",
        "  provider: openai",
        "  limits: [{requests: 5, per: minute}, {requests: 9, per: hour}, {requests: 2, per: minute, model: m-*}]",
        "  keys: [{id: x, secret: s1, limits: [{requests: 50, per: 60s}]}, {id: y, secret: s2}]",
    ).replace("\n    ", "\n    ")
    config = desk.load(text)
    first, second = (config.budgets[account] for account in accounts(config))
    model = Limit("requests", 2, MINUTE, 1_000_000, "m-*")
    hour = Limit("requests", 9, HOUR, 1_000_000)
    assert first == (Limit("requests", 50, MINUTE, 1_000_000), model, hour)
    assert second == (Limit("requests", 5, MINUTE, 1_000_000), model, hour)
    assert config.warnings == ()


def test_account_has_the_lowest_of_each_name_over_all_pools(desk: Desk) -> None:
    text = pools(
        "a: {provider: openai, limits: [{requests: 9, per: minute}], keys: [{id: x, secret: s1, account: acme}]}",
        "b: {provider: openai, limits: [{requests: 4, per: minute, guard: 2s}, {requests: 7, per: hour}],"
        " keys: [{id: y, secret: s2, account: acme}]}",
    )
    config = desk.load(text)
    assert config.budgets == {"=acme": (Limit("requests", 4, MINUTE, 2_000_000), Limit("requests", 7, HOUR, 1_000_000))}
    assert config.warnings == (
        'sidecar.yaml: pools: the limits of account "acme" differ, requests per minute: 9 at a/x, 4 at b/y.'
        " The lowest, 4, holds for all of them.",
        'sidecar.yaml: pools: the limits of account "acme" differ, requests per hour: none at a/x, 7 at b/y.'
        " The lowest, 7, holds for all of them.",
    )


def test_order_of_pools_does_not_change_a_budget(desk: Desk) -> None:
    entry = "%s: {provider: openai, limits: [{requests: 4, per: minute, guard: %s}], keys: [{id: x, secret: s1}]}"
    one, other = entry % ("a", "1s"), entry % ("b", "2s")
    budgets = [desk.load(pools(*entries)).budgets for entries in ((one, other), (other, one))]
    assert budgets[0] == budgets[1]
    assert [limit.guard_us for limits in budgets[0].values() for limit in limits] == [2_000_000]


def test_short_guard_is_raised_and_told(desk: Desk) -> None:
    text = pools("a: {provider: openai, limits: [{requests: 4, per: 1s, guard: 0s}], keys: [{id: x, secret: s1}]}")
    config = desk.load(text)
    assert [limit.guard_us for limits in config.budgets.values() for limit in limits] == [50_000]
    assert config.warnings == (
        'sidecar.yaml: pools.a.limits[0].guard: "0s" is raised to 50ms, the least that a guard can hold.',
    )


def test_account_at_two_providers_is_told(desk: Desk) -> None:
    text = pools(
        "a: {provider: openai, keys: [{id: x, secret: s1, account: acme}]}",
        "b: {provider: gemini, keys: [{id: y, secret: s2, account: acme}]}",
    )
    assert desk.load(text).warnings == (
        'sidecar.yaml: pools: account "acme" is used at several providers, "openai" (a/x), "gemini" (b/y):'
        " they share its limits and cooldowns. Give each a name of its own.",
    )


def test_account_cannot_be_taken_for_a_fingerprint(desk: Desk) -> None:
    config = desk.load(pools("a: {provider: openai, keys: [{id: x, secret: s1}]}"))
    fingerprint = accounts(config)[0]
    text = pools(
        f"a: {{provider: openai, keys: [{{id: x, secret: s1}}, {{id: y, secret: s2, account: '{fingerprint}'}}]}}"
    )
    assert len(set(accounts(desk.load(text)))) == 2
