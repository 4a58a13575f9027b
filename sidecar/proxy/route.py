"""Which targets may serve a call: by route, by a name in front, or by the bare name of the model. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import groupby

from sidecar.model.configured import Client, Config, Pool, Route, Target
from sidecar.model.patterns import matches, nearest
from sidecar.model.rotations import serves
from sidecar.providers.catalogue import native
from sidecar.providers.gemini import COLLECTION
from sidecar.proxy.clients import may_ask
from sidecar.proxy.errors import Refused

CALLED_IN = ("openai", "anthropic", "gemini")  # the dialects in which a call names a model that a route could lead
SHOWN = 20  # names that an error lists


@dataclass(frozen=True, slots=True)
class Candidate:
    """A target, and why it cannot serve the caller; "": it can."""

    target: Target
    why_not: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a name leads, and by what."""

    by: str  # `route "claude-*"`, `the pool's name in front`, ...
    route: Route
    candidates: tuple[Candidate, ...]  # its targets, in their order

    @property
    def targets(self) -> tuple[Target, ...]:
        """Those that can serve."""
        return tuple(one.target for one in self.candidates if not one.why_not)


def find(config: Config, dialect: str, model: str | None) -> Route:
    """The route with the targets that can serve, each with its model; "" for a call without one.

    Where no route leads there but a name, it is as the plainest of routes. Raises Refused (404).
    """
    if model is None:
        return Route((_without_model(config, dialect),))
    choice = choose(config, dialect, model)
    if not choice.targets:
        why = "; ".join(dict.fromkeys(one.why_not for one in choice.candidates))
        raise Refused(404, "model_not_found", f'"{model}" cannot be served: {why}.')
    return replace(choice.route, targets=choice.targets)


def choose(config: Config, dialect: str, model: str) -> Choice:
    """Where a name leads for a caller of this dialect. Raises Refused (404) where nothing has that name."""
    found = _by_route(config, model) or _by_prefix(config, model) or _by_bare_name(config, dialect, model)
    if found is None:
        raise _unknown(config, dialect, model)
    by, to = found
    return Choice(by, to, tuple(_candidate(config, dialect, target) for target in to.targets))


def bare(config: Config, dialect: str, pool: str | None, model: str) -> str:
    """The name without the `models/` that Google writes before it, where it may lead to Google.

    Its API takes both for one model, in its lists too (ai.google.dev/gemini-api/docs/openai), and so do limits, routes
    and clients. `pool`: that the path names.
    """
    if not model.startswith(COLLECTION):
        return model
    try:
        pools = [target.pool for target in choose(config, dialect, model).targets] if pool is None else [pool]
    except Refused:
        return model
    googles = any(_is_googles(config.pools[name]) for name in pools)
    return model.removeprefix(COLLECTION) if googles else model


def callers(config: Config, targets: Iterable[Target]) -> tuple[str, ...]:
    """The dialects in which calls for some of these targets can be made."""
    spoken = {name for target in targets for name in config.pools[target.pool].provider.dialects}
    return tuple(name for name in CALLED_IN if name in spoken)


def shares(targets: Sequence[Target]) -> tuple[float, ...]:
    """Of each target, how much of the requests that reach it or its group it is the first for."""
    found: list[float] = []
    for group, members in groupby(targets, key=lambda target: target.group):
        weights = [target.weight for target in members]
        found += [weight / sum(weights) for weight in weights] if group else [1.0 for _ in weights]
    return tuple(found)


def in_pool(config: Config, pool: str, model: str | None) -> Route:
    """To the one target of a call that names its pool itself. Raises Refused (404) where no key of it may serve."""
    target = Target(pool, model or "")
    if not serves(config.pools[pool], target.model or ""):
        asked = f'the model "{model}"' if model else "a call without a model"
        raise Refused(404, "model_not_found", f"No key of pool {pool} may serve {asked}: see `models` of its keys.")
    return Route((target,))


def named(config: Config, dialect: str, client: Client) -> tuple[str, ...]:
    """What this client can ask for in this dialect, without patterns: routes, models, and what its own `models` name.

    A model that a route leads elsewhere is none, for who asked for it would get another; one that the client may ask
    for only behind its pool's name is told so.
    """
    names = [name for name in config.routes if choose(config, dialect, name).targets]
    for pool in config.pools.values():
        for model in pool.names_models:
            name = model if may_ask(client, model) else f"{pool.name}/{model}"
            if _serves(pool, dialect, model) and _leads_to(config, dialect, name, model):
                names.append(name)
    names += [name for name in client.models if _leads(config, dialect, name)]
    return tuple(dict.fromkeys(name for name in names if "*" not in name and may_ask(client, name)))


def _leads_to(config: Config, dialect: str, name: str, model: str) -> bool:
    """Whether whoever asks for the name is first sent to this model."""
    targets = choose(config, dialect, name).targets
    first = next(([*group] for _, group in groupby(targets, key=lambda target: target.weight > 0)), [])
    return bool(first) and all(one.model == model for one in (first if first[0].weight else first[:1]))


def _leads(config: Config, dialect: str, name: str) -> bool:
    try:
        return bool(choose(config, dialect, name).targets)
    except Refused:
        return False


def _candidate(config: Config, dialect: str, target: Target) -> Candidate:
    pool, model = config.pools[target.pool], target.model or ""
    if model.startswith(COLLECTION) and _is_googles(pool):
        model = model.removeprefix(COLLECTION)
        target = replace(target, model=model)
    return Candidate(target, _why_not(pool, dialect, model))


def _is_googles(pool: Pool) -> bool:
    return native(pool.provider).name == "gemini"


def _why_not(pool: Pool, dialect: str, model: str) -> str:
    """Why no caller of this dialect can be served; "": one can."""
    if dialect not in pool.provider.dialects:
        return f"pool {pool.name} does not speak the {dialect} dialect"
    if not serves(pool, model):
        return f"no key of pool {pool.name} may serve {model}"
    return ""


def _serves(pool: Pool, dialect: str, model: str) -> bool:
    return not _why_not(pool, dialect, model)


_Found = tuple[str, Route]  # by what, and where it leads


def _by_route(config: Config, model: str) -> _Found | None:
    name = nearest(config.routes, model)
    if name is None:
        return None
    route = config.routes[name]
    targets = tuple(replace(target, model=target.model or model) for target in route.targets)
    return f'route "{name}"', replace(route, targets=targets)


def _by_prefix(config: Config, model: str) -> _Found | None:
    prefix, slash, rest = model.partition("/")
    if not slash or not rest:
        return None
    if prefix in config.pools:
        return "the name of a pool in front", Route((Target(prefix, rest),))
    of_provider = [pool.name for pool in config.pools.values() if pool.provider.name == prefix]
    return ("the name of a provider in front", Route((Target(of_provider[0], rest),))) if of_provider else None


def _by_bare_name(config: Config, dialect: str, model: str) -> _Found | None:
    naming = [pool for pool in config.pools.values() if any(matches(name, model) for name in pool.names_models)]
    if naming:
        able = [pool for pool in naming if _serves(pool, dialect, model)]
        return "a pool that names this model", Route((Target((able or naming)[0].name, model),))
    speaking = [pool for pool in config.pools.values() if dialect in pool.provider.dialects]
    natives = [pool for pool in speaking if native(pool.provider).name == dialect]
    for only in (natives, speaking):
        if len(only) == 1:
            return f"the only pool of the {dialect} dialect", Route((Target(only[0].name, model),))
    return None


def _without_model(config: Config, dialect: str) -> Target:
    """The first pool whose own dialect it is, else the first that speaks it."""
    speaking = [pool for pool in config.pools.values() if dialect in pool.provider.dialects]
    speaking.sort(key=lambda pool: native(pool.provider).name != dialect)
    able = [pool for pool in speaking if _serves(pool, dialect, "")]
    if able:
        return Target(able[0].name, "")
    if speaking:
        why = f"every key of pool {', '.join(pool.name for pool in speaking)} lists the models that it may serve"
        raise Refused(404, "not_found", f"The call names no model, and {why}.")
    why = f"Pools: {', '.join(config.pools)}; any of them can be called at /pools/<pool>/<path>"
    raise Refused(404, "not_found", f"No pool speaks the {dialect} dialect. {why}.")


def _unknown(config: Config, dialect: str, model: str) -> Refused:
    """With what a caller of this dialect can ask for."""
    pools = [pool for pool in config.pools.values() if dialect in pool.provider.dialects]
    if not pools:
        why = f"no pool speaks the {dialect} dialect. Pools: {', '.join(config.pools)}"
        return Refused(404, "model_not_found", f'No route or pool serves "{model}": {why}.')
    routes = [name for name, route in config.routes.items() if dialect in callers(config, route.targets)]
    models = [name for pool in pools for name in pool.names_models]
    known = list(dict.fromkeys([*routes, *(f"{pool.name}/*" for pool in pools), *models]))
    near = get_close_matches(model, [*routes, *models], 1)
    hint = f' Did you mean "{near[0]}"?' if near else ""
    shown = ", ".join(known[:SHOWN]) + (", ..." if len(known) > SHOWN else "")
    return Refused(404, "model_not_found", f'No route or pool serves "{model}".{hint} Served: {shown}.')
