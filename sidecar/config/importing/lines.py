"""Keys that stand alone: one a line, or `NAME=key`, with blank lines and comments between them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sidecar.config.importing.gathered import Gathered, as_pool, as_variable
from sidecar.config.problems import ConfigError, shown
from sidecar.providers import catalogue

_NAMED = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)(?:\s*=\s*|:\s+)([^=\s].*)\Z|([A-Z][A-Z0-9_]*)\s*=()\Z", re.ASCII)
_COMMENT = re.compile(r"(?:^|\s)(?:#|//).*")


def read(texts: Iterable[str], gathered: Gathered, provider: str | None, pool: str | None) -> None:
    """Each key into a pool of its provider: the one given, else that of its variable's name, else of how it begins.

    Raises ConfigError where a provider is not known.
    """
    own = _known(provider) if provider else None
    unknown = []
    for number, name, text in _keys(texts):
        said = own or (name and catalogue.of_variable(name))
        found = said or catalogue.of_key(text)
        if not said and found == "openai":
            gathered.note("Keys that begin with sk- are taken for openai's. Others have such keys too: see --provider.")
        if found is None or catalogue.preset(found).base_url is None:
            unknown.append(number)
            continue
        _add(found, pool, f"line {number}", name, text, gathered)
    if unknown and not gathered.pools:
        raise ConfigError([f"line {unknown[0]}: nothing tells whose key this is. Say it with --provider NAME."])
    if unknown:
        told = ", ".join(map(str, unknown))
        gathered.note(f"lines without a key that tells its provider are left out: {told}. Say it with --provider NAME.")
    if pool and len({made["provider"] for made in gathered.pools.values()}) > 1:
        raise ConfigError(["these are keys of several providers, and a pool has one. Leave --pool out."])


def _keys(texts: Iterable[str]) -> Iterable[tuple[int, str, str]]:
    """The number of the line, the name before the key or "", and the key; a line may hold several, with commas."""
    for number, line in enumerate(texts, 1):
        said = _COMMENT.sub("", line.strip("\ufeff \t\r\n")).strip()
        named = _NAMED.match(said)
        name, value = (named[1] or named[3], named[2] or "") if named else ("", said)
        for text in value.split(","):
            if text.strip(" \t\"'"):
                yield number, name, text.strip(" \t\"'")


def _add(provider: str, pool: str | None, place: str, name: str, text: str, gathered: Gathered) -> None:
    called = as_pool(pool or provider)
    made = gathered.pools.setdefault(called, {"provider": provider})
    if made["provider"] != provider:
        raise ConfigError(["these are keys of several providers, and a pool has one. Leave --pool out."])
    preset = catalogue.preset(provider)
    base = preset.environment[0] if called == provider else as_variable(f"{called}_API_KEY")
    secret = gathered.secret(text, name or base, place)
    if secret is not None:
        gathered.add_key(called, {"id": "", "secret": secret}, place)


def _known(provider: str) -> str:
    own = catalogue.called(provider)
    if own is None:
        raise ConfigError([f"{shown(provider)} is no provider.\n  Known: {', '.join(catalogue.names())}."])
    if catalogue.preset(own).base_url is None:
        raise ConfigError([f"{own} has an address for each customer. Declare a pool with a base_url: in a file."])
    return own
