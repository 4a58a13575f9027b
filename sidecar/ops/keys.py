"""What an operator may do to a key: the same over HTTP and from the command line, and for all replicas."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from sidecar.model.configured import Config, Key, Pool
from sidecar.model.events import KeyManaged
from sidecar.model.words import Subject
from sidecar.ops.redact import redactor
from sidecar.ops.survey import known_models
from sidecar.store.commands import Store
from sidecar.store.names import rest_field, window_field
from sidecar.store.upkeep import SHARED

Deed = Literal["disable", "enable", "reset"]
DEEDS: dict[Deed, Literal["disabled", "enabled", "reset"]] = {
    "disable": "disabled",
    "enable": "enabled",
    "reset": "reset",
}
BY = "x-sidecar-by"  # the header of who asks; what the command line does is done in its user's name
_LONGEST_NAME = 100  # characters


class NoSuchKey(LookupError):
    """No key is called so; the text says which are."""


class Ambiguous(LookupError):
    """Keys of several pools are called so; the text names the choices."""

    def __init__(self, name: str, choices: tuple[str, ...]) -> None:
        super().__init__(f'Several pools have a key "{name}": say which, {" or ".join(choices)}.')
        self.choices = choices


def find(config: Config, name: str) -> tuple[Pool, Key]:
    """The key called `id` or `pool/id`. Raises NoSuchKey or Ambiguous."""
    found = [
        (pool, key) for pool in config.pools.values() for key in pool.keys if name in {key.id, f"{pool.name}/{key.id}"}
    ]
    if not found:
        known = ", ".join(key.id for pool in config.pools.values() for key in pool.keys[:20])
        raise NoSuchKey(f'There is no key "{name}". There are: {known}.')
    if len(found) > 1:
        raise Ambiguous(name, tuple(f"{pool.name}/{key.id}" for pool, key in found))
    return found[0]


def named(config: Config, name: str) -> str:
    """A name as it may be sent, kept and told: printable, not too long, and without a secret of the config."""
    return redactor(config).head("".join(filter(str.isprintable, name)), _LONGEST_NAME)


def signed(config: Config, who: str, where: str) -> str:
    """`alice, 127.0.0.1`: who asks for something to be done is who they say they are, and where is what was seen."""
    return f"{named(config, who) or 'somebody'}, {named(config, where)}"


async def do(
    deed: Deed, config: Config, store: Store, name: str, by: str, budgets: bool = False
) -> tuple[KeyManaged, bool]:
    """Does it, and says what was done to which key, and whether that changed anything.

    `by`: as `signed` writes it. `budgets`: a reset forgets what the key's account has spent too. Raises NoSuchKey,
    Ambiguous, StoreAway or StoreUnable.
    """
    pool, key = find(config, name)
    pools = [one.name for one in config.pools.values() if any(other.account == key.account for other in one.keys)]
    if deed == "disable":
        changed = await store.disable(key, by)
    elif deed == "enable":
        changed = await store.enable(key, pools)
    else:
        fields = dict.fromkeys([*await _rests(config, store, key, pools), *(_windows(config, key) if budgets else ())])
        changed = bool(await store.reset(key, list(fields), pools))
    return KeyManaged(pool.name, key.id, DEEDS[deed], by), changed


def in_all_pools(config: Config, done: KeyManaged) -> Iterator[KeyManaged]:
    """What was done, told of each key that it was done to: the same secret is one key under a name in each pool."""
    _, key = find(config, f"{done.pool}/{done.key}")
    for pool in config.pools.values():
        yield from (
            replace(done, pool=pool.name, key=one.id) for one in pool.keys if one.fingerprint == key.fingerprint
        )


def told(done: KeyManaged, changed: bool) -> dict[str, str | bool]:
    """As the admin plane answers it; `changed` false: it was so already."""
    return {"pool": done.pool, "key": done.key, "status": done.change, "changed": changed}


async def _rests(config: Config, store: Store, key: Key, pools: list[str]) -> list[str]:
    """The fields of every rest that the key or its account may have, in any of the account's pools."""
    known = await known_models(config, store)
    models = dict.fromkeys((None, SHARED, *(model for pool in pools for model in known[pool])))
    return [rest_field(Subject(key.account, whose, model)) for model in models for whose in (key.fingerprint, None)]


def _windows(config: Config, key: Key) -> Iterator[str]:
    """The fields of what the account has spent. Requests in flight are none of it: they leave by themselves."""
    for limit in config.budgets.get(key.account, ()):
        if limit.kind != "leases":
            yield window_field(key.account, limit)
