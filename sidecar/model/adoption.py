"""What an account is known for moves with its keys when a config names it otherwise: the twin of `lua/adopt.lua`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from sidecar.model.configured import Config
from sidecar.model.room import Held, Shared
from sidecar.model.words import Subject


@dataclass(frozen=True, slots=True)
class Moved:
    """Keys of the account `old` are now of `new`."""

    old: str
    new: str
    gone: bool  # no key stays with the old one


def owners(config: Config) -> dict[str, str]:
    """Each key's account, by its fingerprint."""
    return {key.fingerprint: key.account for pool in config.pools.values() for key in pool.keys}


def adopt(shared: Shared, told: Mapping[str, str]) -> int:
    """Takes over whose each key of a config is; returns how many windows and rests of old accounts there were.

    Of an account with which no key stays everything is added, and its name, unless other keys have it now, stands for
    the new one. One that stays is copied: of each moment the new account gets as much as either had.
    """
    moves = sorted(_moves(shared.owners, told), key=lambda move: move.gone)  # what is added is added to all copied
    shared.owners |= told
    shared.called = {name: account for name, account in shared.called.items() if name not in told.values()}
    if not moves:
        return 0
    moving, gone = {move.old for move in moves}, {move.old for move in moves if move.gone}
    windows = [(*name, held) for name, held in shared.windows.items() if name[0] in moving]
    rests = [(subject, rest) for subject, rest in shared.rests.items() if _is_of(subject, moving)]
    shared.windows = {name: held for name, held in shared.windows.items() if name[0] not in gone}
    shared.rests = {subject: rest for subject, rest in shared.rests.items() if not _is_of(subject, gone)}
    for move in moves:
        for _, limit, held in (one for one in windows if one[0] == move.old):
            own = shared.windows.get((move.new, limit), ())
            shared.windows[move.new, limit] = _joined(limit, own, held, add=move.gone)
        for subject, rest in (one for one in rests if one[0].account == move.old):
            there = replace(subject, account=move.new)
            shared.rests[there] = max(shared.rests.get(there, rest), rest, key=lambda one: one.ends)
    shared.called = _called(shared.called, moves, told.values())
    return len(windows) + len(rests)


def _moves(known: Mapping[str, str], told: Mapping[str, str]) -> tuple[Moved, ...]:
    """The accounts whose keys, known by their secrets, have another one now; a pair of names once."""
    pairs = dict.fromkeys((known[key], new) for key, new in told.items() if known.get(key, new) != new)
    kept = {new for key, new in told.items() if known.get(key, new) == new}
    return tuple(Moved(old, new, old not in kept) for old, new in pairs)


def _called(known: Mapping[str, str], moves: Collection[Moved], named: Collection[str]) -> dict[str, str]:
    """What stands for each name that nobody should use any more."""
    heirs = Counter(move.old for move in moves)
    renamed = {move.old: move.new for move in moves if move.gone and heirs[move.old] == 1 and move.old not in named}
    return {name: renamed.get(account, account) for name, account in known.items() if name not in heirs} | renamed


def _is_of(subject: Subject, accounts: Collection[str]) -> bool:
    """Whether it is all of one of these accounts: a key's own rests are named after its secret."""
    return subject.key is None and subject.account in accounts


def _joined(limit: str, own: Held, more: Held, *, add: bool) -> Held:
    """A window of a limit of this name. Leases are counted by their pairs, all else is by its moments."""
    if limit.startswith("concurrency/"):
        leases = Counter(own) + Counter(more) if add else Counter(own) | Counter(more)
        return tuple(sorted(leases.elements()))
    one, other = (sum((Counter({moment: count}) for moment, count in held), Counter()) for held in (own, more))
    return tuple(sorted((one + other if add else one | other).items()))
