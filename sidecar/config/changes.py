"""What differs between two configs, in words for the log: by names and ids, never by a secret."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields

from sidecar.model.configured import Config, Key, Pool

_TOLD_APART = {"pools", "budgets", "routes", "clients", "warnings"}  # of a config's fields
_OF_SECRET = {"secret", "fingerprint", "account", "origin"}  # of a key's


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
            yield f"{field.name} changed"


def _pool(old: Config, new: Config, before: Pool, pool: Pool) -> Iterator[str]:
    was, now = ({key.id: key for key in one.keys} for one in (before, pool))
    stay = [name for name in now if name in was]
    told: list[tuple[str, list[str]]] = [
        ("removed", [name for name in was if name not in now]),
        ("added", [name for name in now if name not in was]),
        ("with another secret", [name for name in stay if was[name].secret != now[name].secret]),
        ("with other settings", [name for name in stay if _settings(was[name]) != _settings(now[name])]),
        (
            "with other limits",
            [name for name in stay if _limits(old, was[name]) != _limits(new, now[name])],
        ),
    ]
    for what, names in told:
        if names:
            yield f"pool {pool.name}: {_many(names)} {what}: {', '.join(names)}"
    for account, names in _renamed(was, now).items():
        whose = f"now {account}" if account else "their own now" if len(names) > 1 else "its own now"
        yield f"pool {pool.name}: the account of {', '.join(names)} is {whose}"
    if stay != [name for name in was if name in now]:
        yield f"pool {pool.name}: the order of its keys changed"
    other = [
        field.name
        for field in fields(Pool)
        if field.name not in {"keys", "names_models"} and getattr(before, field.name) != getattr(pool, field.name)
    ]
    if other:
        yield f"pool {pool.name}: {', '.join(_word(name) for name in other)} changed"


def _settings(key: Key) -> list[object]:
    """All but the account, what follows from the secret, and where it was read."""
    return [getattr(key, field.name) for field in fields(Key) if field.name not in _OF_SECRET]


def _renamed(was: Mapping[str, Key], now: Mapping[str, Key]) -> dict[str, list[str]]:
    """The keys that have another account now, by its name; "": none that the config names."""
    found: dict[str, list[str]] = {}
    for name, key in now.items():
        if name in was and _account(was[name]) != _account(key):
            found.setdefault(_account(key), []).append(name)
    return found


def _account(key: Key) -> str:
    return key.account[1:] if key.account.startswith("=") else ""


def _limits(config: Config, key: Key) -> object:
    return config.budgets.get(key.account, ())


def _routes(old: Config, new: Config) -> Iterator[str]:
    for name in (name for name in old.routes if name not in new.routes):
        yield f"route {name} removed"
    for name, targets in new.routes.items():
        if name not in old.routes:
            yield f"route {name} added"
        elif old.routes[name] != targets:
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


def _word(field: str) -> str:
    """A field of a pool as the file calls it."""
    return {"cooldowns": "cooldown"}.get(field, field.removesuffix("_us").removesuffix("_s"))


def _ids(keys: Iterable[Key]) -> str:
    return ", ".join(key.id for key in keys)


def _many(names: list[str]) -> str:
    return f"{len(names)} key" + ("" if len(names) == 1 else "s")
