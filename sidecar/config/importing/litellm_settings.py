"""What LiteLLM's settings beside its model list come to; where nothing stands for one, a note says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from sidecar.config.importing.gathered import Data, Gathered, Line, number
from sidecar.config.problems import shown

_STRATEGIES = {"usage-based-routing": "least_used", "usage-based-routing-v2": "least_used"}
_SHUFFLE = (None, "simple-shuffle")
_SECTIONS = ("router_settings", "litellm_settings", "general_settings", "environment_variables")
_REDIS = ("redis_url", "redis_host", "redis_port", "redis_password", "redis_username", "redis_ssl", "redis_db")

Targets = list[Line | list[Line]]
Groups = list[list[Line]]  # a route's targets: those of a group share by their weights, or there is but one

# What LiteLLM falls back on beside any error, by the class that stands for it here.
_CAUSES = {"fallbacks": "", "context_window_fallbacks": "context_too_long", "content_policy_fallbacks": "blocked"}


@dataclass
class Settings:
    """`pool`: fields of every pool; `top`: fields of the file; `aliases` and, for each of _CAUSES, `fallbacks` by model
    group; `fallback_on` by route."""

    pool: Data = field(default_factory=dict)
    top: Data = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    fallbacks: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    fallback_on: dict[str, list[str]] = field(default_factory=dict)

    def extend(self, routes: dict[str, Groups], gathered: Gathered) -> None:
        """Adds to each route what it falls back to, then the routes of other names for one."""
        own = {name: list(groups) for name, groups in routes.items()}
        for setting, chains in self.fallbacks.items():
            for group, others in chains.items():
                for name in own if group == "*" else [group]:
                    for other in others:
                        self._fall_back(setting, name, other, own, routes, gathered)
        for alias, group in self.aliases.items():
            if group in routes:
                routes[alias] = list(routes[group])
                self.fallback_on[alias] = self.fallback_on.get(group, [])
            else:
                gathered.note(f"model_group_alias {shown(alias)}: {shown(group)} is no model of the list.")

    def _fall_back(
        self,
        setting: str,
        name: str,
        other: str,
        own: Mapping[str, Groups],
        routes: dict[str, Groups],
        gathered: Gathered,
    ) -> None:
        if name not in own or other not in own:
            missing = name if name not in own else other
            gathered.note(f"{setting} of {shown(name)}: {shown(missing)} is no model of the list.")
            return
        known = {place(target) for group in routes[name] for target in group}
        new = ([target for target in group if place(target) not in known] for group in own[other])
        more = [group if len(group) > 1 else [alone(group[0])] for group in new if group]
        routes[name] += more
        if cause := _CAUSES[setting]:
            named = self.fallback_on.setdefault(name, [])
            named += [cause] if cause not in named else []
            if more:
                gathered.note(f"{setting} of {shown(name)}: {shown(other)} also serves it where nobody before it can.")

    def route(self, name: str, groups: Groups) -> Targets | Data:
        """As the file says it."""
        targets = _in_a_row(groups)
        causes = self.fallback_on.get(name)
        return {"targets": targets, "fallback_on": causes} if causes and len(targets) > 1 else targets


def _in_a_row(groups: Groups) -> Targets:
    """Neighbours with weights share, so a group behind one that ends with such a target has a list of its own."""
    targets: Targets = []
    for group in groups:
        targets += [group] if len(group) > 1 and targets and "weight" in targets[-1] else group
    return targets


def place(target: Mapping[str, Any]) -> str:
    """Where a target leads, as `pool/model`."""
    return "/".join(str(target[field]) for field in ("pool", "model") if field in target)


def alone(target: Mapping[str, Any]) -> Line:
    """The target without a share: beside others' it would be one of theirs."""
    return Line({field: said for field, said in target.items() if field != "weight"})


def shuffles(data: Mapping[str, Any]) -> bool:
    """Whether LiteLLM picks deployments by its default strategy, `simple-shuffle`."""
    return _router(data).get("routing_strategy") in _SHUFFLE


def read(data: Mapping[str, Any], gathered: Gathered) -> Settings:
    """Everything but the model list. What is said twice counts as LiteLLM's router has it."""
    made = Settings()
    sections = {name: _section(data, name) for name in _SECTIONS}
    for name in _SECTIONS:
        if data.get(name) and not isinstance(data[name], dict):
            gathered.note(f"{name}: is no mapping, so it is left out.")
    router = _router(data)
    for_all = router.get("default_fallbacks")
    _strategy(router, made, gathered)
    _numbers(router, made, gathered)
    if url := _redis({name.removeprefix("redis_"): router.get(name) for name in _REDIS}, "REDIS", gathered):
        made.top["redis"] = url
    _cache(router, made, gathered)
    made.fallbacks = {setting: _chains(router.get(setting)) for setting in _CAUSES}
    if for_all:
        made.fallbacks["fallbacks"]["*"] = [str(one) for one in for_all]
    made.aliases = _aliases(router.get("model_group_alias"))
    _clients(sections["general_settings"], made, gathered)
    _variables(sections["environment_variables"], gathered)
    for name in ("router_settings", "litellm_settings"):
        gathered.lost(name, (shown(said) for said in sections[name] if said not in _ROUTER))
    gathered.lost("general_settings", (shown(said) for said in sections["general_settings"] if said != "master_key"))
    gathered.lost(
        "file", (shown(str(said)) for said in data if said not in {"model_list", "credential_list", *_SECTIONS})
    )
    return made


_ROUTER = {
    *_REDIS, "routing_strategy", "num_retries", "timeout", "request_timeout", "cooldown_time",
    "default_fallbacks", "model_group_alias", "cache", "cache_params", *_CAUSES,
}  # fmt: skip


def _section(data: Mapping[str, Any], name: str) -> Data:
    said = data.get(name)
    return said if isinstance(said, dict) else {}


def _router(data: Mapping[str, Any]) -> Data:
    return {**_section(data, "litellm_settings"), **_section(data, "router_settings")}


def _strategy(router: Mapping[str, Any], made: Settings, gathered: Gathered) -> None:
    said = router.get("routing_strategy")
    ours = _STRATEGIES.get(str(said))
    if ours:
        made.pool["strategy"] = ours
    elif said not in _SHUFFLE:
        gathered.note(f"router_settings: no counterpart for routing_strategy {shown(str(said))}. Keys take turns.")


def _numbers(router: Mapping[str, Any], made: Settings, gathered: Gathered) -> None:
    least = {"num_retries": 0, "timeout": 1e-3, "request_timeout": 1e-3, "cooldown_time": 1e-3}
    said = {name: number(router[name]) for name in least if router.get(name) is not None}
    usable = {name: value for name, value in said.items() if value is not None and value >= least[name]}
    gathered.lost("router_settings", (f"the value of {shown(name)}" for name in said if name not in usable))
    if "num_retries" in usable:
        made.pool["max_attempts"] = min(100, int(usable["num_retries"]) + 1)
    if timeout := usable.get("timeout") or usable.get("request_timeout"):
        made.pool |= within(timeout)
    if cooldown := usable.get("cooldown_time"):
        made.pool["cooldown"] = Line(default=f"{cooldown:g}s")


def within(seconds: float) -> Data:
    """The fields of a pool whose requests may take so long."""
    timeout = {"timeout": f"{min(seconds, 86_400):g}s"}
    return timeout | {"max_wait": timeout["timeout"]} if seconds < 10 else timeout  # the wait for room is a part of it


def _redis(said: Mapping[str, Any], called: str, gathered: Gathered) -> str | None:
    """The URL of a Redis. A password goes into it as a variable, since the file is no place for one."""
    url, host = said.get("url"), said.get("host")
    if url:
        text = gathered.text(url)
        return text if "@" not in text else gathered.secret(text, f"{called}_URL", "redis_url")
    if not host:
        return None
    password, user = said.get("password"), said.get("username") or ""
    told = _password(password, called, gathered) if password else ""
    credentials = f"{quote(str(user))}:{told}@" if told else ""
    scheme = "rediss" if said.get("ssl") is True else "redis"
    return (
        f"{scheme}://{credentials}{gathered.text(host)}:{gathered.text(said.get('port') or 6379)}/{said.get('db') or 0}"
    )


def _password(password: object, called: str, gathered: Gathered) -> str:
    named = gathered.text(password)
    if named != str(password):
        gathered.note(f"redis: what {named} holds becomes part of a URL, so write @ : / in it as %40 %3A %2F.")
        return named
    return gathered.secret(quote(str(password), safe=""), f"{called}_PASSWORD", "redis_password") or ""


_CACHE = {"type", "ttl", "default_in_redis_ttl", "url", "host", "port", "password", "username", "ssl", "db", "mode"}


def _cache(router: Mapping[str, Any], made: Settings, gathered: Gathered) -> None:
    """For all requests, as there; one that LiteLLM keeps elsewhere than in Redis is in the Redis of the budgets."""
    if router.get("cache") is not True:
        return
    said = router["cache_params"] if isinstance(router.get("cache_params"), dict) else {}
    if said.get("mode") == "default_off":
        gathered.note(
            "cache_params: no counterpart for mode default_off, so there is no cache. Give routes one: cache."
        )
        return
    if (kind := said.get("type", "redis")) != "redis":
        gathered.note(
            f"cache_params: answers are kept in Redis here, not in {shown(str(kind))}, for requests that ask the same."
        )
    ttl = number(said.get("ttl", said.get("default_in_redis_ttl")))
    url = _redis(said, "CACHE_REDIS", gathered) if kind == "redis" else None
    fields = Line(ttl=f"{ttl:g}s" if ttl and ttl > 0 else "10m")
    if url and url != made.top.get("redis"):
        fields["redis"] = url
    made.top["cache"] = fields
    gathered.lost("cache_params", (shown(str(name)) for name in said if name not in _CACHE))


def _chains(said: Any) -> dict[str, list[str]]:
    """`[{"gpt-4": ["claude"]}]`, or the same as one mapping."""
    entries = said if isinstance(said, list) else [said]
    chains: dict[str, list[str]] = {}
    for entry in entries:
        for group, others in entry.items() if isinstance(entry, dict) else ():
            listed = others if isinstance(others, list) else [others]
            chains.setdefault(str(group), []).extend(str(_model(one)) for one in listed)
    return chains


def _aliases(said: Any) -> dict[str, str]:
    """`{"gpt-4": "gpt-4o"}`, or with `{model: gpt-4o, hidden: true}` as the value."""
    return {str(alias): str(_model(group)) for alias, group in said.items()} if isinstance(said, dict) else {}


def _model(said: Any) -> Any:
    return said.get("model") if isinstance(said, dict) else said


def _clients(general: Mapping[str, Any], made: Settings, gathered: Gathered) -> None:
    """The master key goes on opening the data plane, as a client's virtual key."""
    if not general.get("master_key"):
        return
    token = gathered.secret(general["master_key"], "LITELLM_MASTER_KEY", "general_settings.master_key")
    if token:
        made.top["clients"] = [Line(id="master", token=token)]
        gathered.note("general_settings: the master key is a client's here. For the admin plane choose an admin_token.")


def _variables(said: Mapping[str, Any], gathered: Gathered) -> None:
    """Variables that the file sets itself: those that are read become secrets beside it."""
    for name, value in said.items():
        if name in gathered.named:
            gathered.hold(name, value, f"environment_variables.{name}")
        else:
            gathered.note(f"environment_variables: {shown(str(name))} is left out, since nothing here reads it.")
