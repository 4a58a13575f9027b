"""Limits to paste into the config, by what providers named: of what the config lacks, or holds too high."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sidecar.config import proposals
from sidecar.model.configured import Config, Pool
from sidecar.model.outcomes import NamedLimit

_Seen = Mapping[str, tuple[NamedLimit, ...]]  # by key


def proposed(config: Config, pool: Pool, seen: _Seen) -> Iterator[str]:
    """The lines of a snippet for one pool; none where the config agrees with all that was named.

    A pool's limit is each account's own, so of keys that are named different maxima the lowest holds for all.
    """
    entries = [line for limit in _lowest(seen) if (line := _entry(config, pool, limit, seen))]
    if entries:
        yield f"propose  for pools.{pool.name}, by what {pool.provider.name} names:"
        yield "    limits:"
        yield from entries


def _lowest(seen: _Seen) -> list[NamedLimit]:
    """Of each unit, window and model the lowest maximum, in the order in which they were named.

    What one family of headers names without a window is the quota that another names with it, by the same maximum.
    """
    found: dict[tuple[str, str, str], NamedLimit] = {}
    for limit in (limit for limits in seen.values() for limit in limits):
        of = limit.unit, limit.per, limit.model
        if limit.max and (of not in found or limit.max < (found[of].max or 0)):
            found[of] = limit
    whole = {(limit.unit, limit.max, limit.model) for limit in found.values() if limit.per}
    return [limit for limit in found.values() if limit.per or (limit.unit, limit.max, limit.model) not in whole]


def _entry(config: Config, pool: Pool, named: NamedLimit, seen: _Seen) -> str | None:
    """One line of the list, and why it is there; None where the config has it, or less, for every key that named it."""
    ours = [
        proposals.alike(config.budgets.get(key.account, ()), named)
        for key in pool.keys
        if any((limit.unit, limit.per, limit.model) == (named.unit, named.per, named.model) for limit in seen[key.id])
    ]
    too_high = [limit for limit in ours if limit is not None and limit.max > (named.max or 0)]
    if None not in ours and not too_high:
        return None
    written = proposals.entry(named, pool.provider.zone)
    if written is None:
        return f"      # {proposals.told(named)}: over which time, the answer does not say"
    replaced = next((limit for limit in too_high if limit.model == named.model), None)
    why = f"  # instead of {proposals.told(replaced)}" if replaced else ""
    return f"      - {written}{why}"
