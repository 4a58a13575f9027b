"""LiteLLM's `config.yaml`: its deployments become pools by provider and address, its model groups routes.

Read after docs.litellm.ai: proxy/configs, proxy/config_settings, routing. There a deployment is a key for one model;
here a key serves all of its models, and its limits say which of them they count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sidecar.config.importing import litellm_settings
from sidecar.config.importing.budgets import lowest
from sidecar.config.importing.deployments import Deployment, deployment
from sidecar.config.importing.gathered import Data, Gathered, Line
from sidecar.config.importing.litellm_settings import Groups, alone, place
from sidecar.config.importing.remedies import remedies
from sidecar.config.importing.shares import shares
from sidecar.config.importing.spread import weights
from sidecar.config.importing.turns import settle
from sidecar.config.problems import shown
from sidecar.model.patterns import matches
from sidecar.providers import catalogue

Routes = dict[str, Groups]


def read(data: Mapping[str, Any], gathered: Gathered) -> None:
    """Pools, keys, routes, and what of the other settings has a counterpart."""
    known = _credentials(data.get("credential_list"))
    entries = [_with_credentials(entry, known, gathered) for entry in data["model_list"]]
    found = [made for at, entry in enumerate(entries) if (made := _entry(at, entry, gathered))]
    shuffled = litellm_settings.shuffles(data)
    for name, members in _by(found, "pool").items():
        _fill(name, members, gathered, shuffled=shuffled)
    routes = _routes(found, gathered, shuffled=shuffled)
    settings = litellm_settings.read(data, gathered)
    settings.extend(routes, gathered)
    _yield_prefixes(routes, found, gathered)
    for name, pool in gathered.pools.items():
        own = {field: pool.pop(field) for field in ("strategy", "keys") if field in pool}
        if "strategy" in own and "strategy" in settings.pool:
            by = "order" if own["strategy"] == "priority" else "weight"
            gathered.note(
                f"pool {name}: its deployments have {by}s, so its strategy is {own['strategy']}"
                f" and not the {settings.pool['strategy']} of routing_strategy."
            )
        pool.update(settings.pool | _timeout(name, found, gathered) | own)
    said = {name: settings.route(name, groups) for name, groups in routes.items()}
    gathered.document |= settings.top | ({"routes": said} if said else {})
    for remedy in remedies(_fields(data)):
        gathered.note(remedy)


def _fields(data: Mapping[str, Any]) -> Iterator[str]:
    """The names of all that the file says."""
    for name in ("router_settings", "litellm_settings", "general_settings"):
        yield from data[name] if isinstance(data.get(name), dict) else ()
    for entry in data["model_list"]:
        params = entry.get("litellm_params") if isinstance(entry, dict) else None
        yield from params if isinstance(params, dict) else ()


def _credentials(said: Any) -> dict[str, Data]:
    """What each name of the credential_list stands for."""
    listed = (one for one in said if isinstance(one, dict)) if isinstance(said, list) else ()
    values = ((str(one.get("credential_name")), one.get("credential_values")) for one in listed)
    return {name: fields for name, fields in values if isinstance(fields, dict)}


def _with_credentials(entry: Any, known: Mapping[str, Data], gathered: Gathered) -> Any:
    """The entry with the parameters that it names in place."""
    params = entry.get("litellm_params") if isinstance(entry, dict) else None
    if not isinstance(params, dict) or "litellm_credential_name" not in params:
        return entry
    name = str(params["litellm_credential_name"])
    if name not in known:
        gathered.note(f"model {shown(str(entry.get('model_name')))}: {shown(name)} is no name of the credential_list.")
    own = {field: value for field, value in params.items() if field != "litellm_credential_name"}
    return entry | {"litellm_params": known.get(name, {}) | own}


def _timeout(pool: str, found: Iterable[Deployment], gathered: Gathered) -> Data:
    """Of a pool whose deployments say how long a request may take: the longest."""
    said = {one.timeout_s for one in found if one.pool == pool}
    longest = max((one for one in said if one), default=None)
    if longest is None:
        return {}
    if len(said) > 1:
        gathered.note(f"pool {pool}: its deployments differ in timeout, which is a pool's here. {longest:g} s hold.")
    return litellm_settings.within(longest)


def _entry(at: int, entry: Any, gathered: Gathered) -> Deployment | None:
    if isinstance(entry, dict):
        return deployment(entry, gathered)
    gathered.note(f"model_list[{at}]: is no mapping, so it is left out.")
    return None


def _by(found: Iterable[Deployment], field: str) -> dict[str, list[Deployment]]:
    grouped: dict[str, list[Deployment]] = {}
    for one in found:
        grouped.setdefault(getattr(one, field) or "", []).append(one)
    return grouped


def _fill(pool: str, members: list[Deployment], gathered: Gathered, *, shuffled: bool) -> None:
    """The pool's keys, each with what its deployments say of it. `shuffled`: by the strategy simple-shuffle."""
    models = {one.model for one in members}
    ranked = {group for group, same in _by(members, "group").items() if len({one.order for one in same}) > 1}
    often = _often(pool, members, gathered, ranked=bool(ranked)) if shuffled else {}
    for secret, own in _by(members, "secret").items():
        place = f"pool {pool}, key {secret}" if secret else f"pool {pool}"
        said = [limit for one in own for limit in one.limits]
        budgets = lowest(said)
        _differing(said, budgets, place, gathered)
        if not secret:
            gathered.pools[pool] |= {"limits": budgets} if budgets else {}
            continue
        key: Data = {"id": "", "secret": secret}
        serves = dict.fromkeys(one.model for one in own)
        if set(serves) != models and "*" not in serves:
            key["models"] = list(serves)
        if weights := [one.weight for one in own if one.weight]:
            key["weight"] = _one("weight", weights, place, gathered)
        elif secret in often:
            key["weight"] = often[secret]
        if ranked:
            orders = [one.order for one in own if one.group in ranked]
            key["priority"] = _one("order", orders, place, gathered) if orders else 1
        if budgets:
            key["limits"] = budgets
        gathered.add_key(pool, key, secret)
    settle(pool, gathered)


def _often(pool: str, members: list[Deployment], gathered: Gathered, *, ranked: bool) -> Mapping[str, int]:
    """The weights that rates come to, where no deployment has one of its own."""
    if any(one.weight for one in members):
        return {}
    often = shares(members)
    if often is None or (often and ranked):
        gathered.note(
            f"pool {pool}: LiteLLM picks its deployments by rpm or tpm, in a ratio that no weights of keys come to."
            " Here keys take turns, each within its limits."
        )
        return {}
    return often


def _differing(said: Iterable[Line], lowest: Iterable[Line], place: str, gathered: Gathered) -> None:
    """Tells what two deployments of a key and a model, as of two orders, do not agree on."""
    for line in lowest:
        unit, most = next(iter(line.items()))
        of = {field: value for field, value in line.items() if field != unit}
        if any(other != line and other == {**of, unit: other.get(unit)} for other in said):
            model = f" for {of['model']}" if "model" in of else ""
            gathered.note(
                f"{place}: its deployments differ in {unit} per {of['per']}{model}, which is a key's here."
                f" The lowest, {most}, holds."
            )


def _one(field: str, said: list[float], place: str, gathered: Gathered) -> float:
    if len(set(said)) > 1:
        gathered.note(f"{place}: its models differ in {field}, which is a key's here. The first, {said[0]}, holds.")
    return said[0]


def _routes(found: list[Deployment], gathered: Gathered, *, shuffled: bool) -> Routes:
    """A route for each model group: its targets in their order, and those of one order share as LiteLLM picks them."""
    routes: Routes = {}
    for group, members in _by(found, "group").items():
        groups: Groups = []
        for order in sorted({one.order for one in members}):
            tier = _tier([one for one in members if one.order == order], groups, gathered)
            often = weights([ones for _, ones in tier]) if tier and shuffled else ()
            if len(tier) > 1 and not often:
                told = ", then ".join(place(target) for target, _ in tier)
                gathered.note(f"model {shown(group)}: LiteLLM spreads calls over its deployments; here it is {told}.")
            if often:
                groups.append([Line(target | {"weight": often[at]}) for at, (target, _) in enumerate(tier)])
            else:
                groups += [[target] for target, _ in tier]
        if groups:
            routes[group] = groups
    return routes


def _tier(members: Iterable[Deployment], before: Groups, gathered: Gathered) -> list[tuple[Line, list[Deployment]]]:
    """The deployments of one order by their target, but for targets that an order before them has."""
    known = {place(target) for group in before for target in group}
    tier: dict[str, tuple[Line, list[Deployment]]] = {}
    for one in members:
        target = _target(one, gathered)
        if target is not None and place(target) not in known:
            first, same = tier.setdefault(place(target), (target, []))
            same.append(one)
            if first != target:
                gathered.note(
                    f"model {shown(one.group)}: its deployments of {place(target)} differ in parameters or headers,"
                    " which are a target's here. The first holds."
                )
    return list(tier.values())


def _yield_prefixes(routes: Routes, found: Iterable[Deployment], gathered: Gathered) -> None:
    """Takes away the patterns that would catch what pools serve by their prefix: here a route goes before a prefix,
    and sends the whole name. The keys of what stood behind `*` name it instead, which counts after a prefix."""
    prefixed = dict.fromkeys(one.pool for one in found if "*" in one.model and one.group not in routes)
    for name in [name for name in routes if "*" in name]:
        caught = [f"{pool}/NAME" for pool in prefixed if matches(name, f"{pool}/NAME")]
        if not caught:
            continue
        first, *others = (alone(target) for group in routes.pop(name) for target in group)
        keys = gathered.pools[first["pool"]].get("keys", [])
        taking = [key for key in keys if "models" not in key] if name == "*" and "model" not in first else []
        for key in taking:
            key["models"] = [name]
        if taking:
            _unsaid(name, first, gathered)
        why = f"model {shown(name)}: a route of it would take {', '.join(caught)} from the pools of these names"
        if not taking:
            remedy = f"Write one for each name that it is to serve, such as gpt-4o: [{_flow(first)}]"
            gathered.note(f"{why}, so there is none. {remedy}.")
            continue
        told = f", and no other: {', then '.join(map(place, others))} is left out" if others else ""
        gathered.note(f'{why}. So {first["pool"]} serves all other names, by models: ["*"] of its keys{told}.')


def _unsaid(group: str, said: Iterable[str], gathered: Gathered) -> None:
    """Tells what a target would have said, where no route leads to one."""
    if fields := [field for field in said if field in {"default", "set", "headers"}]:
        gathered.note(
            f"model {shown(group)}: {', '.join(fields)} belong to a route's target here, and it has no route."
        )


def _flow(target: Line) -> str:
    return f"{{{', '.join(f'{field}: {value}' for field, value in target.items())}}}"


def _target(one: Deployment, gathered: Gathered) -> Line | None:
    """Where the deployment's calls go. None: the pool's own name serves it, or (after a note) nothing does."""
    if "*" not in one.model:
        return Line(pool=one.pool, model=one.model, **one.changes)
    if one.group in {one.model, "*"}:
        return Line(pool=one.pool, **one.changes)
    _unsaid(one.group, one.changes, gathered)
    prefix, _, rest = one.group.partition("/")
    made = gathered.pools[one.pool]
    if rest == one.model and (prefix == one.pool or catalogue.called(prefix) == made.get("provider")):
        if prefix not in {one.pool, made.get("provider")}:
            gathered.note(f"model {shown(one.group)}: ask for {one.pool}/NAME instead of {prefix}/NAME.")
        return None
    gathered.note(f"model {shown(one.group)}: no counterpart for another prefix. Ask for {one.pool}/NAME.")
    return None
