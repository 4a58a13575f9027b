"""A rotation's turns: which member comes next, and when one without room comes back. Twin: `lua/parts/rotation.lua`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sidecar.model import orders, room
from sidecar.model.words import Member, Rotation

PARKED = 1e14  # scores from here on are moments


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
    latest_of_all: int = -1


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
    turn.scores |= _places(turn, due)


def _places(turn: Turn, due: set[str]) -> dict[str, float]:
    """Of members that come together."""
    strategy = turn.rotation.strategy
    later = _served(turn, due) if orders.ORDERS[strategy].place else set()
    return {text: orders.due(strategy, turn.last, turn.members[text], 2 if text in later else 1) for text in due}


def coming(turn: Turn, moment: float, most: int, today: Callable[[Member], int]) -> list[tuple[Member, float]]:
    """The members that may have room at this moment, and their places, by whose turn it is; at `most` so many.

    Of one place whoever follows the one granted last comes first. `today`: how many grants a key was given.
    """
    texts = sorted(text for text, score in turn.scores.items() if score == moment)[:most]
    places = _places(turn, set(texts))
    if orders.ORDERS[turn.rotation.strategy].counts:
        places = {text: today(turn.members[text]) for text in texts}
    members = [turn.members[text] for text in texts]
    members.sort(key=lambda one: (places[one.text], one.order <= turn.latest_of_all, one.order))
    return [(member, places[member.text]) for member in members]


def _served(turn: Turn, due: set[str]) -> set[str]:
    """Of keys of an account that come together, those up to the one granted last, which come a turn later; none where
    it was the last of them."""
    of_account = defaultdict(list)
    for text in due:
        of_account[turn.members[text].account].append(turn.members[text])
    return {
        member.text
        for account, siblings in of_account.items()
        if turn.latest.get(account, -1) < max(one.order for one in siblings)
        for member in siblings
        if member.order <= turn.latest.get(account, -1)
    }
