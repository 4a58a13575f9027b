"""One entry of LiteLLM's `model_list`: which provider, at which address, with which key, for which model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.config.env_file import free_name
from sidecar.config.importing.budgets import limits
from sidecar.config.importing.changes import READ, changes
from sidecar.config.importing.gathered import Data, Gathered, Line, as_pool, as_variable, number
from sidecar.config.problems import shown
from sidecar.providers import catalogue

# Whose models LiteLLM knows by name alone (docs.litellm.ai/docs/providers), of those that a key opens.
_BARE = (
    ("openai", re.compile(r"gpt-|chatgpt-|o\d|text-embedding-|dall-e|whisper|tts-|ft:")),
    ("anthropic", re.compile(r"claude")),
    ("cohere", re.compile(r"command")),
)
_OWN_ADDRESS = ("custom_openai", "openai_like", "litellm_proxy", "lm_studio", "llamafile", "oobabooga", "xinference")
_KEYLESS = ("ollama", "vllm")
_READ = {"model", "api_key", "api_base", "base_url", "rpm", "tpm", "weight", "order", "timeout", "custom_llm_provider"}
_OUTER = {"model_name", "litellm_params", "rpm", "tpm"}


@dataclass(frozen=True, slots=True)
class Deployment:
    """What serves a model group: a pool, a key of it and the model that the provider is asked for."""

    group: str
    pool: str
    secret: str | None  # `${NAME}`; None: the API wants no key
    model: str  # may end in `*`
    order: float  # lowest first
    weight: float | None
    rates: Mapping[str, float]  # `rpm` before `tpm`, as its litellm_params have them
    limits: tuple[Line, ...]
    changes: Data  # fields of a target
    timeout_s: float | None


def deployment(entry: Mapping[str, Any], gathered: Gathered) -> Deployment | None:
    """The entry, whose pool is made if it is not there yet; None after a note why it is left out."""
    group, params = str(entry.get("model_name") or ""), entry.get("litellm_params")
    place = f"model {shown(group)}"
    if not group or not isinstance(params, dict) or not params.get("model"):
        gathered.note(f"{place}: has no model_name or no litellm_params.model, so it is left out.")
        return None
    provider, model = _provider(params)
    api = _api(provider, params, gathered)
    if api is None:
        gathered.note(f"{place}: no pool can be made for {shown(str(params['model']))}, so it is left out.")
        return None
    secret = _secret(params, api, place, gathered)
    if secret is None and api.get("provider", "ollama") not in _KEYLESS:
        return None
    said = {name: entry.get(name) or params.get(name) for name in ("rpm", "tpm")}
    found = limits(said, "UTC", "" if model == "*" else model)
    found.tell(place, gathered)
    gathered.lost(place, (*_rest(params, _READ | READ), *_rest(entry, _OUTER)))
    weight, order, timeout_s = (_number(params, name, place, gathered) for name in ("weight", "order", "timeout"))
    if weight is not None and weight <= 0:
        gathered.note(f"{place}: LiteLLM never picks it, with the weight {weight}. Here its key has turns like others.")
    rates = {name: rate for name in ("rpm", "tpm") if (rate := number(params.get(name))) is not None and rate > 0}
    return Deployment(
        group,
        _pool(api, secret, gathered),
        secret,
        model,
        1 if order is None else order,
        weight if weight and weight > 0 else None,
        rates,
        tuple(found.limits),
        changes(params, place, gathered),
        timeout_s if timeout_s and timeout_s > 0 else None,
    )


def _rest(fields: Mapping[str, Any], known: set[str]) -> list[str]:
    return [shown(str(name)) for name, value in fields.items() if name not in known and value not in (None, {}, [])]


def _number(params: Mapping[str, Any], name: str, place: str, gathered: Gathered) -> float | None:
    said, found = params.get(name), number(params.get(name))
    if said is not None and found is None:
        gathered.note(f"{place}: {shown(name)} holds no number that can be read, so it is left out.")
    return found


def _provider(params: Mapping[str, Any]) -> tuple[str, str]:
    """The provider's name as LiteLLM writes it, "" where it is not known, and the model without it."""
    name = str(params["model"])
    said = params.get("custom_llm_provider")
    if said:
        return str(said), name.removeprefix(f"{said}/")
    first, slash, rest = name.partition("/")
    if slash:
        return first, rest
    known = next((own for own, pattern in _BARE if pattern.match(name)), "")
    return known or ("openai" if params.get("api_base") else ""), name


def _api(provider: str, params: Mapping[str, Any], gathered: Gathered) -> Data | None:
    """The fields of a pool that say where it sends."""
    said = params.get("api_base") or params.get("base_url")
    url = gathered.text(said).rstrip("/") if said else None
    own = catalogue.called(provider)
    keyless = own in _KEYLESS and not params.get("api_key")
    if own in _KEYLESS and (url or keyless):
        url = url or catalogue.preset(str(own)).base_url
        assert url is not None
        url = url if url.endswith("/v1") or url.startswith("$") else f"{url}/v1"
    if url and (provider in _OWN_ADDRESS or own in _KEYLESS or (own == "openai" and "//api.openai.com" not in url)):
        return {"base_url": url, "dialect": "openai"}
    if own is None or own == "vertex" or (url is None and catalogue.preset(own).base_url is None):
        return None
    if own == "azure" and not str(url).endswith("/v1"):
        url = f"{url}/openai/v1"
    return {"provider": own} | ({"base_url": url} if url else {})


def _secret(params: Mapping[str, Any], api: Data, place: str, gathered: Gathered) -> str | None:
    """The key as `${NAME}`: that of the entry, else the variable that LiteLLM reads for the provider."""
    own = api.get("provider")
    base = catalogue.preset(own).environment[0] if own else as_variable(f"{_called(api)}_API_KEY")
    if params.get("api_key"):
        return gathered.secret(params["api_key"], base, place)
    return gathered.variable(base) if own else None


def _pool(api: Data, secret: str | None, gathered: Gathered) -> str:
    """The name of the pool at this address; one without keys is another."""
    wanted = api if secret else {**api, "auth": "none"}
    for name, made in gathered.pools.items():
        if {field: value for field, value in made.items() if field != "keys"} == wanted:
            return name
    name = free_name(as_pool(_called(api)), gathered.pools)
    gathered.pools[name] = wanted
    return name


def _called(api: Data) -> str:
    """A pool is called like its provider, else like its host."""
    if "provider" in api:
        return str(api["provider"])
    url = str(api["base_url"])
    host = url.lower() if url.startswith("$") else url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    return re.sub(r"[^A-Za-z0-9-]+", "-", host).strip("-") or "own"
