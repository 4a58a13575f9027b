"""Pools from nothing but the environment: what `sidecar run` has where there is no file.

Of two sources for one pool the first in the catalogue comes first: `GEMINI_API_KEY`, then `GOOGLE_API_KEY`, then
`GOOGLE_AI_STUDIO_KEY`, then `GOOGLE_AI_STUDIO_KEY_GEMINI`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sidecar.config.problems import Problems
from sidecar.config.schema import KeySources, PoolEntry
from sidecar.config.secrets import Sources, from_env, variables
from sidecar.providers import catalogue

_Source = tuple[str, str, str]  # pool, provider, base name


def pools(sources: Sources) -> dict[str, PoolEntry]:
    """An entry for each pool that has a usable key: the catalogue's providers, then the pools that variables name."""
    bases: dict[str, list[str]] = {}
    providers: dict[str, str] = {}
    for pool, provider, base in (*_providers_own(sources), *_named(sources)):
        if providers.setdefault(pool, provider) == provider:
            bases.setdefault(pool, []).append(base)
        else:
            clash = f"{base} makes a pool at {provider}, and {bases[pool][0]} one of that name at {providers[pool]}."
            sources.problems.error(("pools", pool), f"{clash} Rename the first, or write a file.")
    return {
        pool: PoolEntry(provider=providers[pool], keys=KeySources(from_env=names))
        for pool, names in bases.items()
        if from_env(pool, names, ("pools", pool, "keys", "from_env"), sources)
    }


def no_pools(problems: Problems, *, file: bool) -> None:
    """Teaches how to give a key: in the file, or where there is none in the environment."""
    if file:
        text = "there is none. Declare one, such as chat: {provider: openai, keys: {from_env: OPENAI_API_KEY}}."
        problems.error(("pools",), f"{text} Without a file, keys in the environment make pools of their own.")
        return
    problems.error(
        (),
        "there is no key for any provider. Set one, such as OPENAI_API_KEY, GEMINI_API_KEY or ANTHROPIC_API_KEY"
        " (more as OPENAI_API_KEY_1, OPENAI_API_KEY_2, ...), in the environment or in .env,"
        " or declare pools in sidecar.yaml.",
    )


def _providers_own(sources: Sources) -> Iterator[_Source]:
    """Of each preset the variables that make a pool called like it."""
    for name in catalogue.names():
        preset = catalogue.preset(name)
        for base in (*preset.environment, *filter(None, [preset.pools])):
            if not variables(base, sources.environment):
                continue
            if preset.base_url is None:
                text = f"{base} is left out: {name} has an address for each customer, which a file gives as base_url."
                sources.problems.warn(("pools", name), text)
            else:
                yield name, name, base


def _named(sources: Sources) -> Iterator[_Source]:
    """Of each preset the variables that name a pool: `GOOGLE_AI_STUDIO_KEY_CHAT_2` is for `chat`, at `gemini`."""
    for name in catalogue.names():
        prefix = catalogue.preset(name).pools
        if prefix:
            pattern = re.compile(rf"{prefix}_(?!\d+\Z)([A-Za-z0-9_]*?[A-Za-z0-9])(?:_\d+)?\Z", re.ASCII)
            matches = filter(None, map(pattern.match, sources.environment))
            for word in sorted({match[1] for match in matches}):
                yield word.lower(), name, f"{prefix}_{word}"
