"""Another program's keys into a config of ours: a text in, plain data, secrets and notes out. No I/O.

What the text is, its own shape says: `providers` is a key pool, `model_list` LiteLLM's config, all else a list of keys.
"""

from __future__ import annotations

from collections.abc import Mapping

from sidecar.config import read
from sidecar.config.importing import keypool, lines, litellm
from sidecar.config.importing.gathered import Gathered, Imported, rendered
from sidecar.config.problems import ConfigError

__all__ = ["Imported", "imported", "rendered"]


def imported(
    text: str, environment: Mapping[str, str], *, provider: str | None = None, pool: str | None = None
) -> Imported:
    """The config that a text comes to. `environment`: variables that are taken, and what they hold.

    `provider` and `pool` are for keys that stand alone. Raises ConfigError where the text is none of what is known, or
    holds no key.
    """
    data = _data(text)
    # Twice, for a secret must not get a name that a later entry reads: the variable may be set only where it runs.
    first = Gathered(environment)
    _gather(data, text, provider, pool, first)
    gathered = Gathered(environment, first.named)
    _gather(data, text, provider, pool, gathered)
    return gathered.done()


def _gather(data: object, text: str, provider: str | None, pool: str | None, gathered: Gathered) -> None:
    if isinstance(data, dict) and "pools" in data:
        raise ConfigError(["this is a config of sidecar already. Try `sidecar check --config FILE`."])
    if isinstance(data, dict) and isinstance(data.get("providers"), dict | list):
        keypool.read(data, gathered)
    elif isinstance(data, dict) and isinstance(data.get("model_list"), list):
        litellm.read(data, gathered)
    elif isinstance(data, dict):
        raise ConfigError(["this is none of: a key pool (providers: ...), LiteLLM's config (model_list: ...), keys."])
    else:
        texts = [str(item) for item in data] if isinstance(data, list) else text.splitlines()
        lines.read(texts, gathered, provider, pool)
        provider = pool = None
    if provider or pool:
        gathered.note("--provider and --pool are for a list of keys: this file says itself what its keys are for.")


def _data(text: str) -> object:
    """What a YAML or JSON text holds; None for a list of keys, whose lines seldom are YAML, and then one text."""
    structured = text.lstrip("\ufeff \t\r\n").startswith(("{", "["))
    try:
        data = read.parse(text, "input")
    except ConfigError:
        if structured or "\nmodel_list:" in f"\n{text}" or "\nproviders:" in f"\n{text}":
            raise
        return None
    known = isinstance(data, dict) and ({"pools", "providers", "model_list"} & set(data))
    return data if structured or known else None
