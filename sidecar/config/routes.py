"""Routes: the names that clients use, the ordered targets that may serve each, and what is done with the answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby

from sidecar.config import cache
from sidecar.config.limits import check_model
from sidecar.config.pools import Draft
from sidecar.config.problems import Path, Problems, shown
from sidecar.config.schema import PoolEntry, RouteEntry, TargetEntry, Targets
from sidecar.config.targets import target
from sidecar.model.classes import Class
from sidecar.model.configured import Cache, Pool, Route, Target
from sidecar.model.patterns import overlap
from sidecar.model.rotations import serves

FALLBACKS = (
    Class.CONTEXT_TOO_LONG,
    Class.BLOCKED,
    Class.BAD_REQUEST,
    "not_found",
    Class.OVERLOADED,
    Class.SERVER_ERROR,
    Class.TIMEOUT,
    Class.CONNECT,
)


def routes(
    entries: dict[str, Targets | RouteEntry],
    pools: dict[str, PoolEntry],
    everywhere: Cache | None,
    problems: Problems,
) -> dict[str, Route]:
    """The route of each name, as far as it can be read. `everywhere`: how answers are kept that no route speaks of."""
    return {name: _route(name, entry, pools, everywhere, problems) for name, entry in entries.items()}


def _route(
    name: str,
    entry: Targets | RouteEntry,
    pools: dict[str, PoolEntry],
    everywhere: Cache | None,
    problems: Problems,
) -> Route:
    path: Path = ("routes", name)
    check_model(name, path, problems)
    if isinstance(entry, list):
        return Route(_targets(entry, path, pools, problems), name=name)
    return Route(
        targets=_targets(entry.targets, (*path, "targets"), pools, problems),
        mask_model=bool(entry.mask_model),
        fallback_on=_fallback_on(entry, (*path, "fallback_on"), problems),
        retry_empty=bool(entry.retry_empty),
        cache=cache.of_route(entry.cache, (*path, "cache"), problems, everywhere),
        name=name,
    )


def _targets(entries: Targets, path: Path, pools: dict[str, PoolEntry], problems: Problems) -> tuple[Target, ...]:
    if not entries:
        problems.error(path, "has no target. Give it one: [{pool: NAME, model: NAME}].")
    found: dict[tuple[str, str], Path] = {}
    made = []
    for where, entry, group in _placed(entries, path):
        one = target(entry, where, pools, problems)
        first = found.setdefault((one.pool, one.model or str(path[1])), where)
        if first != where:
            problems.error(where, f"is the same target as {''.join(f'[{at}]' for at in first[len(path) :])}.")
        made.append(replace(one, weight=one.weight or 1, group=group) if group else one)
    _check_groups(entries, path, problems)
    return tuple(made)


def _placed(entries: Targets, path: Path) -> Iterator[tuple[Path, TargetEntry, int]]:
    """Each target, where it stands, and the number of its group: a list within the list, or neighbours with weights; 0:
    it stands alone."""
    group, shares = 0, False  # whether the one before may share with this one
    for index, entry in enumerate(entries):
        if isinstance(entry, list):
            group, shares = group + 1, False
            yield from (((*path, index, at), one, group) for at, one in enumerate(entry))
        else:
            group, shares = group + (bool(entry.weight) and not shares), bool(entry.weight)
            yield (*path, index), entry, group if shares else 0


def _check_groups(entries: Targets, path: Path, problems: Problems) -> None:
    """Who shares with nobody is a slip: a neighbour was taken to have a weight, or a second target to stand there."""
    for index, entry in enumerate(entries):
        if isinstance(entry, list) and len(entry) < 2 and not problems.under((*path, index)):
            problems.error((*path, index), "is no group: one shares between two targets or more.")
    placed = [one for one in _placed(entries, path) if one[2]]
    for _, members in groupby(placed, key=lambda one: one[2]):
        where, *others = [where for where, _, _ in members]
        if not others and len(where) == len(path) + 1 and not problems.under(path):
            text = "shares with nobody: the targets beside it have no weight. Give them one, or leave it out."
            problems.error((*where, "weight"), text)


def _fallback_on(entry: RouteEntry, path: Path, problems: Problems) -> frozenset[str]:
    names = entry.fallback_on or []
    for index, name in enumerate(names):
        if name not in FALLBACKS:
            problems.error((*path, index), f"{shown(name)} is nothing to fall back on.", name, FALLBACKS)
    if names and len([*_placed(entry.targets, path)]) == 1:
        problems.error(path, "there is no second target to fall back to. Give the route one.")
    return frozenset(map(str, names))


def check(
    entries: Mapping[str, Targets | RouteEntry],
    routes: Mapping[str, Route],
    pools: Mapping[str, Pool],
    problems: Problems,
) -> None:
    """Tells of targets that could serve nobody, whatever is asked for; then every route can serve some caller."""
    for name, route in routes.items():
        entry, path = entries[name], ("routes", name)
        listed, where = (entry, path) if isinstance(entry, list) else (entry.targets, (*path, "targets"))
        for (place, _, _), one in zip(_placed(listed, where), route.targets, strict=True):
            if one.pool in pools:
                _check_target(one, name, pools[one.pool], place, problems)


def _check_target(target: Target, name: str, pool: Pool, path: Path, problems: Problems) -> None:
    if set(pool.provider.dialects) <= {"plain"}:
        text = "speaks no dialect in which a route could be asked for. Give the pool its dialect: openai"
        problems.error((*path, "pool"), f"{pool.name} {text}, or call it at /pools/{pool.name}/... alone.")
    model = target.model or name
    if not pool.keys or _may_serve(pool, model):
        return
    allowed = ", ".join(dict.fromkeys(pattern for key in pool.keys for pattern in key.models))
    problems.error(path, f"no key of pool {pool.name} may serve {shown(model)}: their `models` are {allowed}.")


def _may_serve(pool: Pool, model: str) -> bool:
    """Whether any key of the pool may serve this model, or one that a route's pattern lets be asked for."""
    if "*" not in model:
        return serves(pool, model)
    return any(not key.models or any(overlap(model, pattern) for pattern in key.models) for key in pool.keys)


def with_targets(drafts: list[Draft], routes: Mapping[str, Route]) -> list[Draft]:
    """The drafts whose pools also name the models that routes send to them."""
    named: dict[str, dict[str, None]] = {}
    for one in (one for route in routes.values() for one in route.targets):
        if one.model is not None:
            named.setdefault(one.pool, {})[one.model] = None
    return [made.naming(named.get(made.pool.name, {})) for made in drafts]
