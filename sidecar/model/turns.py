"""A rotation's turns: which member comes next, and when one without room comes back. Twin: `lua/parts/rotation.lua`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from sidecar.model import orders, room
from sidecar.model.words import Member, Rotation

PARKED = 1e14  # scores from here on are moments
TIE = 2**-12  # by which keys of an account that come together come one behind the other


@dataclass(slots=True)
class Turn:
    """A rotation's state: each member's place or moment, the next number, the highest places granted."""

    rotation: Rotation
    scores: dict[str, float]
    members: Mapping[str, Member]
    number: int = 0
    last: dict[int, float] = field(default_factory=dict)
    busy: int = 0  # until when requests in flight are in the way of a parked member, if they do not end sooner
    waits: set[str] = field(default_factory=set)  # such members
    day: int = 0
    latest: dict[str, int] = field(default_factory=dict)  # by account, the order of its member that was granted last


def park(turn: Turn, member: Member, moment: int, busy: int, now: int) -> None:
    """Until `moment` the member has no room; `busy`: until when that hangs on requests in flight; 0: it does not."""
    turn.scores[member.text] = moment
    turn.waits.discard(member.text)
    if busy > now:
        turn.busy = max(turn.busy, busy)
        turn.waits.add(member.text)


def wake(turn: Turn, accounts: set[str], now: int) -> None:
    """Keys of these accounts may have room earlier than they were parked for."""
    turn.waits -= {text for text, member in turn.members.items() if member.account in accounts}
    for text, member in turn.members.items():
        if member.account in accounts and turn.scores[text] > now:
            turn.scores[text] = now


def ready(turn: Turn, now: int) -> None:
    """Members whose moment has come get their place."""
    strategy = turn.rotation.strategy
    due = {text for text, score in turn.scores.items() if PARKED <= score <= now}
    if orders.ORDERS[strategy].counts and turn.day != now // room.DAY_US:
        turn.day = now // room.DAY_US
        due |= {text for text, score in turn.scores.items() if score < PARKED}
    turn.waits -= {text for text in due if turn.scores[text] >= PARKED}
    behind = _behind(turn, due) if orders.ORDERS[strategy].place else {}
    for text in due:
        turn.scores[text] = orders.due(strategy, turn.last, turn.members[text]) + behind.get(text, 0.0)


def _behind(turn: Turn, due: set[str]) -> dict[str, float]:
    """By what keys of an account that come together come behind: whoever follows the one granted last comes first."""
    of_account = defaultdict(list)
    for member in sorted((turn.members[text] for text in due), key=lambda member: member.order):
        of_account[member.account].append(member)
    for account, siblings in of_account.items():
        siblings.sort(key=lambda member: member.order <= turn.latest.get(account, -1))
    return {member.text: at * TIE for siblings in of_account.values() for at, member in enumerate(siblings)}
