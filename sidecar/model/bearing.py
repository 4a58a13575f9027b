"""Whose windows and rests bear on a grant: the key's, its account's, its pool's, its provider's and the client's."""

from __future__ import annotations

from sidecar.model.configured import Limit
from sidecar.model.words import Member, Rotation, Subject

Window = tuple[str, Limit]  # the account whose it is, and the limit


def account_of(pool: str) -> str:
    """Whose the windows of a pool's total are."""
    return f"+{pool}"


def resting_pool(pool: str) -> Subject:
    """What rests when the provider throttles a pool."""
    return Subject(account_of(pool))


def resting_provider(way: str, model: str) -> Subject:
    """What rests when the breaker of a provider is open: a model at a time, for so they overload."""
    return Subject(f"!{way}", None, model)


def of_all(rotation: Rotation) -> tuple[Subject, ...]:
    """The rests that bear on a pool's grants whatever the key: its own, and its provider's."""
    pool = resting_pool(rotation.pool)
    return (pool, resting_provider(rotation.way, rotation.model)) if rotation.way else (pool,)


def subjects(member: Member, model: str) -> tuple[Subject, ...]:
    """The four rests that bear on a key's grant for a model, those of its pool aside."""
    return (
        Subject(member.account, member.key),
        Subject(member.account, member.key, model),
        Subject(member.account),
        Subject(member.account, None, model),
    )


def own(rotation: Rotation, member: Member) -> list[Window]:
    """Those of the key's account."""
    return [(member.account, limit) for limit in rotation.limits[member.limits]]


def all_windows(rotation: Rotation, member: Member) -> list[Window]:
    """Those that a grant enters."""
    return [*common(rotation, member), *client(rotation)]


def common(rotation: Rotation, member: Member) -> list[Window]:
    """Those that are asked for every client."""
    return [*own(rotation, member), *total(rotation)]


def total(rotation: Rotation) -> list[Window]:
    """Those of the pool as a whole."""
    return [(account_of(rotation.pool), limit) for limit in rotation.total]


def client(rotation: Rotation) -> list[Window]:
    """Those of who asks."""
    return [(rotation.client.account, limit) for limit in rotation.client.limits]
