"""Who of a replica has which of its reserved moments."""

from __future__ import annotations

from time import monotonic

from sidecar.model.rotations import rotation
from sidecar.model.words import ONE, Amounts, Grant
from sidecar.pool.dated import Dated, Queue
from sidecar.pool.search import Held, held
from tests.unit.pool.configs import config, limit, pool, search

POOL = pool(keys=1)
ROTATION = rotation(POOL, config(POOL, limits=[limit(1)]).budgets, "m")
NOW = monotonic()  # before any request


def moment(in_s: int, amounts: Amounts = ONE) -> Held:
    """A reservation so many seconds ahead."""
    grant = Grant(0, ROTATION, ROTATION.members[0], 0, in_s, 1_000_000 * in_s, amounts, runs=False)
    return held(grant, 0, POOL, POOL.keys[0], NOW)


def enter(queue: Queue, in_s: int, came: float | None = None, within_s: float = 100, amounts: Amounts = ONE) -> Dated:
    """One more waits, with a moment so many seconds ahead."""
    told = search() if came is None else search(came=came)
    one = Dated(told, moment(in_s, amounts), (NOW + within_s,))
    queue.enter(one)
    return one


def ahead(*of: Dated) -> list[int]:
    """How many seconds ahead their moments are."""
    return [one.held.grant.moment_us for one in of]


async def test_who_came_first_has_the_earliest_moment() -> None:
    queue = Queue()
    first, second = enter(queue, 3), enter(queue, 5)
    newcomer = enter(queue, 1)
    assert ahead(first, second, newcomer) == [1, 3, 5]
    back_again = enter(queue, 9, came=NOW)
    assert ahead(back_again, first, second, newcomer) == [1, 3, 5, 9]
    assert queue.first is back_again


async def test_nobody_gets_a_moment_for_which_it_may_not_wait() -> None:
    queue = Queue()
    first, second = enter(queue, 3), enter(queue, 5)
    hasty = enter(queue, 1, within_s=4)
    assert ahead(first, hasty, second) == [1, 3, 5]
    back_again = enter(queue, 9, came=NOW)
    assert ahead(back_again, first, hasty, second) == [1, 5, 3, 9]


async def test_those_who_need_something_else_keep_what_they_have() -> None:
    queue, large = Queue(), (1, 9, 9, 0, 9, 9)
    first, other, last = enter(queue, 2), enter(queue, 3, amounts=large), enter(queue, 5)
    assert queue.last_like(first) is last
    assert queue.last_like(other) is other
    newcomer = enter(queue, 1)
    assert ahead(first, last, newcomer, other) == [1, 2, 5, 3]
    queue.leave(first, gone=True)
    assert ahead(last, newcomer, other, first) == [1, 2, 3, 5]
    assert queue.first is last


async def test_what_is_given_moves_all_forward_who_come_after_it() -> None:
    queue = Queue()
    first, second, third = enter(queue, 2), enter(queue, 4), enter(queue, 6)
    found = moment(3)
    taken = queue.give(found, first)
    assert taken is second.held
    assert ahead(first, second, third) == [2, 3, 4]
    assert found.grant.moment_us == 6
    assert queue.give(moment(7), first) is None


async def test_who_was_served_leaves_nothing_to_others() -> None:
    queue = Queue()
    first, second = enter(queue, 2), enter(queue, 4)
    queue.leave(first, gone=False)
    assert ahead(first, second) == [2, 4]
    assert queue.first is second
    queue.leave(second, gone=False)
    assert not queue


async def test_what_nobody_has_in_hand_is_not_traded() -> None:
    """Redis has been asked to confirm it, and nobody knows yet what it is."""
    queue = Queue()
    first, second = enter(queue, 2), enter(queue, 4)
    first.held.in_hand = False
    newcomer = enter(queue, 1)
    assert ahead(first, second, newcomer) == [2, 1, 4]
