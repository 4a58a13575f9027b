"""What differs between two configs, in words for the log: by names and ids, never by a secret."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields

from sidecar.model.configured import Config, Key, Pool

_TOLD_APART = {"pools", "budgets", "routes", "clients", "warnings"}  # of a config's fields
_NO_SETTINGS = {"id", "secret", "fingerprint", "account", "origin"}  # of a key's

_Stays = list[tuple[Key, Key]]  # as it was, as it is


def same(old: Config, new: Config) -> bool:
    """Whether they mean the same. Order matters: of pools the first that can serve does."""
    return old == new and list(old.pools) == list(new.pools) and list(old.routes) == list(new.routes)


def changes(old: Config, new: Config) -> tuple[str, ...]:
    """A thing each, in the order of the file."""
    return tuple(_changes(old, new))


def _changes(old: Config, new: Config) -> Iterator[str]:
    for name in (name for name in old.pools if name not in new.pools):
        yield f"pool {name} removed"
    for pool in new.pools.values():
        before = old.pools.get(pool.name)
        if before is None:
            yield f"pool {pool.name} added: {_ids(pool.keys)}"
        else:
            yield from _pool(old, new, before, pool)
    if [name for name in old.pools if name in new.pools] != [name for name in new.pools if name in old.pools]:
        yield "the order of the pools changed"
    yield from _routes(old, new)
    yield from _clients(old, new)
    for field in fields(Config):
        if field.name not in _TOLD_APART and getattr(old, field.name) != getattr(new, field.name):
            yield f"{_word(field.name)} changed"


def _pool(old: Config, new: Config, before: Pool, pool: Pool) -> Iterator[str]:
    stays = _staying(before.keys, pool.keys)
    were, are = {was.id for was, _ in stays}, {now.id for _, now in stays}
    told: list[tuple[str, list[str]]] = [
        ("removed", [key.id for key in before.keys if key.id not in were]),
        ("added", [key.id for key in pool.keys if key.id not in are]),
        ("with another id", [f"{now.id} (was {was.id})" for was, now in stays if was.id != now.id]),
        ("with another secret", [now.id for was, now in stays if was.fingerprint != now.fingerprint]),
        ("with other settings", [now.id for was, now in stays if _settings(was) != _settings(now)]),
        ("with other limits", [now.id for was, now in stays if _limits(old, was) != _limits(new, now)]),
    ]
    for what, names in told:
        if names:
            yield f"pool {pool.name}: {_many(names)} {what}: {', '.join(names)}"
    for account, names in _moved(stays).items():
        whose = f"now {account}" if account else "their own now" if len(names) > 1 else "its own now"
        yield f"pool {pool.name}: the account of {', '.join(names)} is {whose}"
    if [was.id for was, _ in stays] != [key.id for key in before.keys if key.id in were]:
        yield f"pool {pool.name}: the order of its keys changed"
    other = [
        field.name
        for field in fields(Pool)
        if field.name not in {"keys", "names_models"} and getattr(before, field.name) != getattr(pool, field.name)
    ]
    if other:
        yield f"pool {pool.name}: {', '.join(_word(name) for name in other)} changed"


def _staying(before: Sequence[Key], after: Sequence[Key]) -> _Stays:
    """The keys that both have, in the order of `after`: told by the ids that somebody gave, else by their secrets."""
    given = {key.id: key for key in before if _is_named(key)}
    same = {key.id: given[key.id] for key in after if _is_named(key) and key.id in given}
    others = {key.fingerprint: key for key in before if key.id not in same}
    found = ((same.get(key.id) or others.get(key.fingerprint), key) for key in after)
    return [(was, now) for was, now in found if was is not None]


def _is_named(key: Key) -> bool:
    """Whether somebody gave it its id, in a list or as a file's name: that of a variable only counts them."""
    return not key.origin.startswith(("env ", ".env "))


def _settings(key: Key) -> list[object]:
    """All but its names, what follows from the secret, and where it was read."""
    return [getattr(key, field.name) for field in fields(Key) if field.name not in _NO_SETTINGS]


def _moved(stays: _Stays) -> dict[str, list[str]]:
    """The keys that have another account now, by its name; "": none that the config names."""
    found: dict[str, list[str]] = {}
    for was, now in stays:
        if _account(was) != _account(now):
            found.setdefault(_account(now), []).append(now.id)
    return found


def _account(key: Key) -> str:
    return key.account[1:] if key.account.startswith("=") else ""


def _limits(config: Config, key: Key) -> object:
    return config.budgets.get(key.account, ())


def _routes(old: Config, new: Config) -> Iterator[str]:
    for name in (name for name in old.routes if name not in new.routes):
        yield f"route {name} removed"
    for name, route in new.routes.items():
        if name not in old.routes:
            yield f"route {name} added"
        elif old.routes[name] != route:
            yield f"route {name} changed"


def _clients(old: Config, new: Config) -> Iterator[str]:
    was, now = ({client.id: client for client in config.clients} for config in (old, new))
    for name in (name for name in was if name not in now):
        yield f"client {name} removed"
    for name, client in now.items():
        if name not in was:
            yield f"client {name} added"
        elif was[name] != client:
            yield f"client {name} changed"


_WORDS = {
    "cooldowns": "cooldown",
    "first_byte_s": "first_byte_timeout",
    "idle_s": "idle_timeout",
    "cache_total": "cache.max_total",
}


def _word(field: str) -> str:
    """A field of a pool, or of all, as the file calls it."""
    return _WORDS.get(field, field.removesuffix("_us").removesuffix("_s"))


def _ids(keys: Iterable[Key]) -> str:
    return ", ".join(key.id for key in keys)


def _many(names: list[str]) -> str:
    return f"{len(names)} key" + ("" if len(names) == 1 else "s")
