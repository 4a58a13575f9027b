"""Which targets may serve a call: by route, by a name in front, or by the bare name of the model. Pure."""

from __future__ import annotations

from difflib import get_close_matches

from sidecar.model.patterns import matches, nearest
from sidecar.model.words import Config, Pool, Target
from sidecar.proxy.errors import Refused


def targets(config: Config, dialect: str, model: str | None) -> tuple[Target, ...]:
    """The targets in order, each with its model; "" for a call without one. Raises Refused (404)."""
    if model is None:
        return (Target(_first_pool(config, dialect).name, ""),)
    found = _by_route(config, model) or _by_prefix(config, model) or _by_bare_name(config, dialect, model)
    if not found:
        raise _unknown(config, model)
    able = tuple(target for target in found if _serves(config.pools[target.pool], dialect, target.model or ""))
    if not able:
        tried = ", ".join(dict.fromkeys(target.pool for target in found))
        raise Refused(
            404,
            "model_not_found",
            f'"{model}" leads to pool {tried}, which either does not speak the {dialect} dialect '
            "or has no key that may serve that model.",
        )
    return able


def _serves(pool: Pool, dialect: str, model: str) -> bool:
    return dialect in pool.provider.dialects and any(
        not key.models or any(matches(pattern, model) for pattern in key.models) for key in pool.keys
    )


def _by_route(config: Config, model: str) -> tuple[Target, ...]:
    name = nearest(config.routes, model)
    if name is None:
        return ()
    return tuple(Target(target.pool, target.model or model) for target in config.routes[name])


def _by_prefix(config: Config, model: str) -> tuple[Target, ...]:
    prefix, slash, rest = model.partition("/")
    if not slash or not rest:
        return ()
    if prefix in config.pools:
        return (Target(prefix, rest),)
    of_provider = [pool.name for pool in config.pools.values() if pool.provider.name == prefix]
    return (Target(of_provider[0], rest),) if of_provider else ()


def _by_bare_name(config: Config, dialect: str, model: str) -> tuple[Target, ...]:
    speaking = [pool for pool in config.pools.values() if dialect in pool.provider.dialects]
    naming = [pool for pool in speaking if any(matches(name, model) for name in pool.names_models)]
    if naming:
        return (Target(naming[0].name, model),)
    natives = [pool for pool in speaking if _native(pool, dialect)]
    for only in (natives, speaking):
        if len(only) == 1:
            return (Target(only[0].name, model),)
    return ()


def _native(pool: Pool, dialect: str) -> bool:
    """Whether it is the provider's own dialect: the first that it lists."""
    return next(iter(pool.provider.dialects), None) == dialect


def _first_pool(config: Config, dialect: str) -> Pool:
    speaking = [pool for pool in config.pools.values() if dialect in pool.provider.dialects]
    natives = [pool for pool in speaking if _native(pool, dialect)]
    if not speaking:
        raise Refused(
            404,
            "not_found",
            f"No pool speaks the {dialect} dialect. Pools: {', '.join(config.pools)}; any of them can be called "
            "at /pools/<pool>/<path>.",
        )
    return (natives or speaking)[0]


def named(config: Config, dialect: str) -> tuple[str, ...]:
    """What a client of this dialect can ask for by name: routes and models without `*`, then `pool/*`."""
    routes = [name for name in config.routes if "*" not in name]
    pools = [pool for pool in config.pools.values() if dialect in pool.provider.dialects]
    models = [name for pool in pools for name in pool.names_models if "*" not in name]
    return tuple(dict.fromkeys(routes + models))


def _unknown(config: Config, model: str) -> Refused:
    served = list(config.routes) + [f"{name}/*" for name in config.pools]
    near = get_close_matches(
        model, [*config.routes, *(m for pool in config.pools.values() for m in pool.names_models)], 1
    )
    hint = f' Did you mean "{near[0]}"?' if near else ""
    shown = ", ".join(served[:20]) + (", ..." if len(served) > 20 else "")
    return Refused(404, "model_not_found", f'No route or pool serves "{model[:256]}".{hint} Served: {shown}.')
