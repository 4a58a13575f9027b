"""Routes: the names that clients use, and the ordered targets that may serve each."""

from __future__ import annotations

from collections.abc import Mapping

from sidecar.config.limits import check_model
from sidecar.config.pools import Draft
from sidecar.config.problems import Path, Problems, shown
from sidecar.config.schema import PoolEntry, TargetEntry
from sidecar.model.configured import Pool, Target
from sidecar.model.rotations import may_serve


def routes(
    entries: dict[str, list[TargetEntry]], pools: dict[str, PoolEntry], problems: Problems
) -> dict[str, tuple[Target, ...]]:
    """The targets of each name, as far as they can be read."""
    found_by_name = {}
    for name, targets in entries.items():
        path: Path = ("routes", name)
        check_model(name, path, problems)
        if not targets:
            problems.error(path, "has no target. Give it one: [{pool: NAME, model: NAME}].")
        found: dict[Target, int] = {}
        for index, entry in enumerate(targets):
            target = _target(entry, (*path, index), pools, problems)
            if found.setdefault(target, index) != index:
                problems.error((*path, index), f"is the same target as [{found[target]}].")
        found_by_name[name] = tuple(found)
    return found_by_name


def _target(entry: TargetEntry, path: Path, pools: dict[str, PoolEntry], problems: Problems) -> Target:
    if entry.pool not in pools and not problems.under(("pools", entry.pool)):
        problems.error((*path, "pool"), f"{shown(entry.pool)} is no pool.", entry.pool, pools)
    if entry.model is not None:
        check_model(entry.model, (*path, "model"), problems)
        if "*" in entry.model:
            problems.error(
                (*path, "model"), f"{shown(entry.model)} is a pattern. Leave it out for the caller's own name."
            )
    return Target(str(entry.pool), None if entry.model is None else str(entry.model))


def check(routes: Mapping[str, tuple[Target, ...]], pools: Mapping[str, Pool], problems: Problems) -> None:
    """Tells of targets that could serve nobody, whatever is asked for."""
    for name, targets in routes.items():
        for index, target in enumerate(targets):
            model = target.model or name
            pool = pools.get(target.pool)
            if pool is None or not pool.keys or "*" in model or any(may_serve(key, model) for key in pool.keys):
                continue
            allowed = ", ".join(dict.fromkeys(pattern for key in pool.keys for pattern in key.models))
            problems.error(
                ("routes", name, index),
                f"no key of pool {pool.name} may serve {shown(model)}: their `models` are {allowed}.",
            )


def with_targets(drafts: list[Draft], routes: dict[str, tuple[Target, ...]]) -> list[Draft]:
    """The drafts whose pools also name the models that routes send to them."""
    named: dict[str, dict[str, None]] = {}
    for target in (target for targets in routes.values() for target in targets):
        if target.model is not None:
            named.setdefault(target.pool, {})[target.model] = None
    return [made.naming(named.get(made.pool.name, {})) for made in drafts]
