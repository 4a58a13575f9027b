"""The providers that are known by name, and the one table of dialects."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from sidecar.model.configured import Auth, Provider, Speech
from sidecar.providers.anthropic import Anthropic
from sidecar.providers.dialect import Dialect
from sidecar.providers.gemini import Gemini
from sidecar.providers.openai import OpenAI
from sidecar.providers.plain import Beside, Plain

DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect for dialect in (OpenAI(), Anthropic(), Gemini(), Plain())
}  # fmt: skip
_BESIDE = {name: Beside(dialect) for name, dialect in DIALECTS.items()}

# Where each dialect's clients ask for the list of models.
_LISTS = {"openai": "/v1/", "anthropic": "/v1/", "gemini": "/v1beta/"}

_NUMBERED = re.compile(r"_\d+\Z", re.ASCII)
_FILE = Path(__file__).with_name("catalogue.toml")


@dataclass(frozen=True, slots=True)
class Preset:
    """A provider of the catalogue, whose address may still be open.

    `environment`: names of variables that hold a key, the usual one first. `pools`: a variable `<pools>_<POOL>`
    holds a key of a pool called POOL; "" for none. `also`: what other programs call it. `prefixes`: what its keys
    begin with. `dialects` begins with the provider's own; a prefix in them
    is read as `urls.upstream_path` says. `keyless`: a pool of it that names no key needs none.
    """

    name: str
    base_url: str | None  # None: every customer has an address of their own
    auth: Auth
    environment: tuple[str, ...]
    pools: str
    also: tuple[str, ...]
    prefixes: tuple[str, ...]
    dialects: Mapping[str, Speech]
    counts: Literal["account", "account+model"]
    zone: str
    headers: Mapping[str, str]
    models_by_account: bool
    probe: str | None
    asks_usage: bool
    keyless: bool

    def at(self, base_url: str) -> Provider:
        """The provider at an address: its own, or one that stands for it."""
        return Provider(
            name=self.name,
            base_url=base_url.rstrip("/"),
            auth=self.auth,
            dialects=self.dialects,
            counts=self.counts,
            zone=self.zone,
            headers=self.headers,
            models_by_account=self.models_by_account,
            probe=self.probe,
            asks_usage=self.asks_usage,
        )


@dataclass(frozen=True, slots=True)
class Probe:
    """A GET that needs a valid key and costs nothing, as a client would send it: the path is `prefix + operation`."""

    dialect: Dialect
    prefix: str
    operation: str
    headers: Mapping[str, str]


def names() -> tuple[str, ...]:
    """Every provider that has a preset."""
    return tuple(_presets())


def preset(name: str) -> Preset:
    """The preset of this name. Raises KeyError where there is none."""
    return _presets()[name]


def called(name: str) -> str | None:
    """The provider that anybody calls so, whatever the case: `google` is `gemini`. None: it is not known."""
    word = name.lower().replace("-", "_")
    return next((own for own, found in _presets().items() if word == own or word in found.also), None)


def of_variable(name: str) -> str | None:
    """The provider whose keys are in a variable of this name: `OPENAI_API_KEY_2` is for `openai`; None: not known."""
    base = _NUMBERED.sub("", name.upper())
    return next(
        (
            own
            for own, found in _presets().items()
            if base in found.environment or (found.pools and f"{base}_".startswith(f"{found.pools}_"))
        ),
        None,
    )


def of_key(secret: str) -> str | None:
    """The provider whose keys begin like this one, by the longest prefix; None: nothing tells it."""
    fitting = [
        (len(prefix), own)
        for own, found in _presets().items()
        for prefix in found.prefixes
        if secret.startswith(prefix)
    ]
    return max(fitting)[1] if fitting else None


def probe(provider: Provider) -> Probe | None:
    """How to ask whether a key is good: the provider's own way, else its dialect's list of models; None: not known."""
    own = native(provider)
    # What the dialect wants of every client (Anthropic: a version) its namesake's preset knows.
    headers = preset(own.name).headers if own.name in _LISTS else {}
    if provider.probe is not None:
        return Probe(DIALECTS["plain"], "/", provider.probe[1:], headers) if provider.probe else None
    return Probe(own, _LISTS[own.name], "models", headers) if own.name in _LISTS else None


def native(provider: Provider) -> Dialect:
    """The provider's own dialect: the first that it lists."""
    return DIALECTS[next(iter(provider.dialects), "plain")]


def judge(provider: Provider, operation: str) -> Dialect:
    """Who reads what this path of a provider answers: the dialect whose operation it is, be it its own or another."""
    own = native(provider)
    if own.name == "plain":
        return own
    return next((dialect for dialect in (own, *DIALECTS.values()) if dialect.knows(operation)), _BESIDE[own.name])


@cache
def _presets() -> Mapping[str, Preset]:
    with _FILE.open("rb") as file:
        return {name: _preset(name, entry) for name, entry in tomllib.load(file).items()}


def _preset(name: str, entry: Mapping[str, Any]) -> Preset:
    auth = _auth(entry.get("auth", "bearer"))
    dialects = {
        dialect: Speech(speech.get("prefix", ""), _auth(speech["auth"]) if "auth" in speech else auth)
        for dialect, speech in entry["dialects"].items()
    }
    return Preset(
        name=name,
        base_url=entry.get("base_url"),
        auth=auth,
        environment=tuple(entry["environment"]),
        pools=entry.get("pools", ""),
        also=tuple(entry.get("also", ())),
        prefixes=tuple(entry.get("prefixes", ())),
        dialects=dialects,
        counts=entry.get("counts", "account"),
        zone=entry.get("zone", "UTC"),
        headers=entry.get("headers", {}),
        models_by_account=entry.get("models_by_account", True),
        probe=entry.get("probe"),
        asks_usage=entry.get("asks_usage", True),
        keyless=entry.get("keyless", False),
    )


def _auth(entry: str | Mapping[str, str]) -> Auth:
    if isinstance(entry, str):
        return Auth("none" if entry == "none" else "bearer")
    ((kind, name),) = entry.items()
    return Auth("header" if kind == "header" else "query", name)
