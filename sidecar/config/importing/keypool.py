"""Key pools as JSON: `{"providers": {"gemini": {"keys": [{"api_key": ..., "key_id": ..., "rpm_limit": 15}]}}}`.

A key's `priority_models` say what it serves, how often and how early; ours says the latter two of a key, not of each of
its models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sidecar.config.importing.budgets import limits, lowest
from sidecar.config.importing.gathered import Data, Gathered, Line, as_pool, as_variable, number
from sidecar.config.importing.turns import settle
from sidecar.config.problems import shown
from sidecar.providers import catalogue
from sidecar.providers.catalogue import Preset

_LISTS = ("keys", "api_keys")
_SECRET = ("api_key", "key", "secret", "apiKey", "value", "token")
_ID = ("key_id", "id", "name", "label", "alias", "keyId")
_ACCOUNT = ("account", "account_id", "project", "project_id", "organization", "organization_id", "org_id")
_MODELS = ("models", "allowed_models", "supported_models")
_NESTED = ("limits", "rate_limits", "rate_limit", "quota")
_URL = ("base_url", "api_base", "baseUrl", "endpoint")
_OFF = {"enabled": False, "is_active": False, "active": False, "disabled": True}


def read(data: Mapping[str, Any], gathered: Gathered) -> None:
    """Every provider's keys as a pool."""
    gathered.lost("file", (shown(name) for name in data if name != "providers"))
    for name, entry in _named(data["providers"], ("name", "provider", "id")):
        fields = entry if isinstance(entry, dict) else {"keys": entry}
        _provider(str(name), fields, gathered)


def _named(entries: Any, names: Iterable[str]) -> list[tuple[Any, Any]]:
    """A mapping's entries, or those of a list by a field that names each."""
    if isinstance(entries, dict):
        return list(entries.items())
    listed = entries if isinstance(entries, list) else []
    return [(_first(entry, names) if isinstance(entry, dict) else "", entry) for entry in listed]


def _first(entry: Mapping[str, Any], fields: Iterable[str], default: Any = "") -> Any:
    return next((entry[field] for field in fields if entry.get(field) not in (None, "")), default)


def _provider(name: str, entry: Data, gathered: Gathered) -> None:
    place = f"provider {shown(name)}"
    own, url = catalogue.called(name), _first(entry, _URL, None)
    preset = catalogue.preset(own) if own else None
    if url is None and (preset is None or preset.base_url is None):
        why = "is none that is known" if preset is None else "has an address for each customer"
        gathered.note(f"{place} {why}, so its keys are left out. Declare a pool with a base_url.")
        return
    pool = as_pool(own or name)
    made = gathered.pools.setdefault(pool, {"provider": own} if own else {})
    if url is not None:
        made["base_url"] = gathered.text(url)
        made |= {} if own else {"dialect": "openai"}
    zone = preset.zone if preset else "UTC"
    shared, taken = _limits(entry, place, zone, gathered)
    keys = _first(entry, _LISTS, [])
    for at, (id_, key) in enumerate(_named(keys, _ID), 1):
        _key(pool, str(id_ or ""), at, key if isinstance(key, dict) else {"api_key": key}, preset, gathered)
    settle(pool, gathered)
    if shared:
        made["limits"] = shared
    gathered.lost(place, _rest(entry, {*taken, *_LISTS, *_URL, "name", "provider", "id"}))


def _key(pool: str, key_id: str, at: int, entry: Data, preset: Preset | None, gathered: Gathered) -> None:
    place = f"pool {pool}, key {shown(key_id) if key_id else at}"
    off = next((field for field, value in _OFF.items() if entry.get(field) is value), None)
    if off:
        gathered.note(f"{place}: is left out, since {off} is {str(_OFF[off]).lower()}.")
        return
    base = preset.environment[0] if preset else as_variable(f"{pool}_API_KEY")
    secret = gathered.secret(_first(entry, _SECRET), base, place)
    if secret is None:
        return
    made: Data = {"id": key_id, "secret": secret}
    if account := _first(entry, _ACCOUNT):
        made["account"] = gathered.text(account)
    zone = preset.zone if preset else "UTC"
    found, taken = _limits(entry, place, zone, gathered)
    found += _models(entry, made, place, zone, gathered)
    if found:
        made["limits"] = found
    gathered.add_key(pool, made, f"entry {at}")
    known = {*taken, *_SECRET, *_ID, *_ACCOUNT, *_MODELS, *_OFF, "weight", "priority", "priority_models", "provider"}
    gathered.lost(place, _rest(entry, known))


def _models(entry: Data, made: Data, place: str, zone: str, gathered: Gathered) -> list[Line]:
    """Adds models, weight and priority to the key; gives the limits that its models have of their own."""
    listed = _first(entry, ("priority_models",), [])
    models = [item if isinstance(item, dict) else {"model": item} for item in _items(listed)]
    names = [_first(item, ("model", "name", "id")) for item in models] or _items(_first(entry, _MODELS, []))
    if names and "*" not in names:
        made["models"] = list(dict.fromkeys(map(str, names)))
    for field in ("weight", "priority"):
        said = [item[field] for item in models if item.get(field) is not None]
        said = [entry[field]] if entry.get(field) is not None else said
        numbers = [value for value in map(number, said) if value is not None and (value > 0 or field == "priority")]
        if numbers:
            made[field] = numbers[0]
        if len(set(numbers)) > 1:
            gathered.note(
                f"{place}: its models differ in {field}, which is a key's here. The first, {numbers[0]}, holds."
                " A route tries models in an order: NAME: [{pool: ..., model: ...}, ...]."
            )
    found: list[Line] = []
    for item in models:
        model = str(_first(item, ("model", "name", "id")))
        own, taken = _limits(item, f"{place}, model {shown(model)}", zone, gathered, model)
        found += own
        gathered.lost(f"{place}, priority_models", _rest(item, {*taken, "model", "name", "id", "weight", "priority"}))
    return found


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _limits(entry: Data, place: str, zone: str, gathered: Gathered, model: str = "") -> tuple[list[Line], set[str]]:
    """The limits of an entry, and the fields that they took; those that cannot be read are told."""
    said = limits(entry, zone, model)
    said.tell(place, gathered)
    found, taken = said.limits, said.taken
    for field in _NESTED:
        if isinstance(entry.get(field), dict):
            inner = limits(entry[field], zone, model)
            inner.tell(f"{place}, {field}", gathered)
            found += inner.limits
            taken |= {field} if inner.taken >= set(entry[field]) else set()
    return lowest(found), taken


def _rest(entry: Data, known: set[str]) -> list[str]:
    return [shown(field) for field, value in entry.items() if field not in known and value not in (None, "", [], {})]
