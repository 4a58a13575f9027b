"""Whose quota a secret is, and what each account may spend: the rules that reach over pools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from sidecar.config.limits import counted
from sidecar.config.pools import Claim, Draft, DraftKey
from sidecar.config.problems import Problems, shown
from sidecar.model.configured import Key, Limit, Pool

_UNCACHED = " without cached input"
_COUNTS_ONLY = " (counts only)"

_Owned = list[tuple[str, tuple[Limit, ...]]]  # `pool/id` and the limits that hold there


def accounts(drafts: Iterable[Draft], problems: Problems) -> dict[str, str]:
    """What Redis calls the account of each secret, by fingerprint: `=` and the name that some key of it gives, else
    the fingerprint itself. A `=` is in no fingerprint, so the two never meet."""
    drafts = list(drafts)
    claimed: dict[str, Claim] = {}
    for claim in (claim for draft in drafts for claim in draft.claims):
        first = claimed.setdefault(claim.fingerprint, claim)
        if first.account != claim.account:
            told = (
                f"{shown(claim.account)}, but {shown(first.key)} has the same secret and says {shown(first.account)}."
            )
            problems.error((*claim.path, "account"), told)
    return {
        key.fingerprint: f"={claimed[key.fingerprint].account}" if key.fingerprint in claimed else key.fingerprint
        for draft in drafts
        for key in draft.keys
    }


def pools(drafts: Iterable[Draft], account: Mapping[str, str]) -> dict[str, Pool]:
    """The pools with their keys."""
    return {
        draft.pool.name: replace(draft.pool, keys=tuple(_key(key, account[key.fingerprint]) for key in draft.keys))
        for draft in drafts
    }


def budgets(drafts: Iterable[Draft], account: Mapping[str, str], problems: Problems) -> dict[str, tuple[Limit, ...]]:
    """The limits of each account, over its keys in all pools: of each name the strictest, by window and model."""
    owned: dict[str, _Owned] = {}
    providers: dict[str, dict[str, str]] = {}
    for draft in drafts:
        for key in draft.keys:
            label, name = f"{draft.pool.name}/{key.found.id}", account[key.fingerprint]
            owned.setdefault(name, []).append((label, key.limits))
            providers.setdefault(name, {}).setdefault(draft.pool.provider.name, label)
    for name, places in providers.items():
        _warn_of_providers(name, places, problems)
    return {name: found for name, keys in owned.items() if (found := _strictest(name, keys, problems))}


def _key(key: DraftKey, account: str) -> Key:
    found = key.found
    return Key(
        found.id,
        found.secret,
        key.fingerprint,
        account,
        key.weight,
        key.priority,
        key.models,
        key.proxy,
        origin=found.origin,
    )


def _strictest(account: str, keys: _Owned, problems: Problems) -> tuple[Limit, ...]:
    """One limit of each name, since one window in the store counts for all of them."""
    alike: dict[str, list[Limit]] = {}
    for limit in (limit for _, limits in keys for limit in limits):
        alike.setdefault(limit.name, []).append(limit)
    found = [_merged(limits) for limits in alike.values()]
    for limit in found:
        _warn_of_difference(account, limit, keys, problems)
    return tuple(sorted(found, key=_order))


def _merged(limits: list[Limit]) -> Limit:
    """Of those that are enforced, if any is, the lowest; of two alike the one that guards longer.

    Cached input counts if one of them counts it.
    """
    holding = [limit for limit in limits if limit.enforce] or limits
    lowest = min(holding, key=lambda limit: (limit.max, -limit.guard_us))
    return replace(lowest, count_cached=any(limit.count_cached for limit in holding))


def _order(limit: Limit) -> tuple[str, int, str, str, str]:
    """Sliding windows by their length, then days and months."""
    period, zone = (limit.calendar.period, limit.calendar.zone) if limit.calendar else ("", "")
    return period, limit.window_us, limit.unit, limit.model, zone


def _warn_of_difference(account: str, holding: Limit, keys: _Owned, problems: Problems) -> None:
    said: dict[str, list[str]] = {}
    for label, limits in keys:
        here = next((limit for limit in limits if limit.name == holding.name), None)
        said.setdefault(_worth(here), []).append(label)
    if len(said) == 1:
        return
    told = ", ".join(f"{worth} at {_some(labels)}" for worth, labels in said.items())
    lowest = "lowest that is enforced" if holding.enforce and any(_COUNTS_ONLY in worth for worth in said) else "lowest"
    cached = ", cached input included" if holding.count_cached and any(_UNCACHED in worth for worth in said) else ""
    problems.warn(
        ("pools",),
        f"the limits of {_called(account, keys)} differ, {counted(holding)}: {told}."
        f" The {lowest}, {holding.max}{cached}, holds for all of them.",
    )


def _worth(limit: Limit | None) -> str:
    if limit is None:
        return "none"
    return f"{limit.max}{'' if limit.count_cached else _UNCACHED}{'' if limit.enforce else _COUNTS_ONLY}"


def _warn_of_providers(account: str, places: Mapping[str, str], problems: Problems) -> None:
    if account.startswith("=") and len(places) > 1:
        told = ", ".join(f"{shown(provider)} ({label})" for provider, label in places.items())
        text = (
            f"account {shown(account[1:])} is used at several providers, {told}: they share its limits and cooldowns."
        )
        problems.warn(("pools",), f"{text} Give each a name of its own.")


def _called(account: str, keys: _Owned) -> str:
    if account.startswith("="):
        return f"account {shown(account[1:])}"
    return f"the secret of {_some([label for label, _ in keys])}"


def _some(labels: list[str]) -> str:
    return ", ".join(labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")
