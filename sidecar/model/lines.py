"""Who waits for a request in flight to end, as pairs (ticket, when it last asked): the twin of `lua/parts/line.lua`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sidecar.model.configured import SECOND_US, Pool
from sidecar.model.words import Rotation

Line = tuple[tuple[int, int], ...]  # in the order of coming

PATIENCE_US = SECOND_US  # who has not asked for so long waits no more


def has_earlier(line: Line, came: int, freed: int, now: int) -> bool:
    """Whether somebody who came before `came` is to look first at a key that gave back a place at `freed`."""
    return any(ticket < came and asked < freed and asked + PATIENCE_US > now for ticket, asked in line)


def free(lines: Iterable[Line], came: int) -> int:
    """The first ticket from `came` on that nobody in these lines has."""
    taken = {ticket for line in lines for ticket, _ in line}
    while came in taken:
        came += 1
    return came


def with_(line: Line, ticket: int, stands: bool, now: int) -> Line:
    """The line with the holder of this ticket in it, who asks now; or without, where it does not stand there."""
    others = tuple(one for one in line if one[0] != ticket and one[1] + PATIENCE_US > now)
    return tuple(sorted((*others, *(((ticket, now),) if stands else ()))))


def of(rotations: Sequence[Rotation], shares: Sequence[float]) -> set[str]:
    """The lines in which those may stand who wait for keys of these rotations, and leave such shares to others."""
    given = shares or (0.0,) * len(rotations)
    return {name(rotation, share) for rotation, share in zip(rotations, given, strict=True)} - {""}


def name(rotation: Rotation, share: float) -> str:
    """Whoever leaves a share of the places to others has a line of its own: they do not wait until it could go."""
    return f"{rotation.line}|batch" if rotation.line and share else rotation.line


def names(pools: Mapping[str, Pool]) -> dict[str, str]:
    """In whose line those stand who wait for keys of a pool: one line for all pools that have accounts in common."""
    line = {name: name for name in pools}
    first: dict[str, str] = {}
    for pool in pools.values():
        for key in pool.keys:
            other = first.setdefault(key.account, pool.name)
            merged, into = line[pool.name], line[other]
            line = {name: into if of == merged else of for name, of in line.items()} if merged != into else line
    return line
