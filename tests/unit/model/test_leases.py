"""No more requests are in flight than may be, and a lease ends by itself when nobody renews it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import leases
from sidecar.model.configured import Limit

LENGTH = 15
LIMITS = st.builds(Limit, st.just("concurrency"), st.integers(1, 4), st.just(LENGTH), st.just(0))
TWO = Limit("concurrency", 2, LENGTH, 0)
STEPS = st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["ask", "end", "renew", "die"]), st.integers(0, 99)))


@given(LIMITS, STEPS)
def test_never_more_are_in_flight_than_may_be(limit: Limit, steps: list[tuple[int, str, int]]) -> None:
    """As a client would count them that sees requests begin, end, and their replicas die: those too for one lease."""
    held: leases.Leases = ()
    now, running, heard = 0, list[int](), dict[int, int]()
    for gap, what, which in steps:
        now += gap
        running = [moment for moment in running if heard[moment] + LENGTH > now]
        if what == "ask" and leases.free_at(limit, held, now, 1) == now and now not in heard:
            held = leases.enter(limit, held, now, now)
            running.append(now)
            heard[now] = now
        elif what == "end" and running:
            held, found = leases.leave(held, running.pop(which % len(running)), now)
            assert found
        elif what == "renew" and running:
            moment = running[which % len(running)]
            held, heard[moment] = leases.renew(limit, held, moment, now), now
        assert leases.used(held, now) == len([moment for moment in running if heard[moment] + LENGTH > now])
        assert len(running) <= limit.max


def test_place_is_free_when_the_first_lease_ends() -> None:
    held = leases.enter(TWO, leases.enter(TWO, (), 0, 0), 4, 4)
    assert leases.free_at(TWO, held, 5, 1) == LENGTH
    assert leases.free_at(TWO, held, LENGTH, 1) == LENGTH
    assert leases.free_at(Limit("concurrency", 1, LENGTH, 0), held, 5, 1) == 4 + LENGTH  # lowered meanwhile


def test_lease_that_had_ended_runs_again_where_its_request_does() -> None:
    """A replica that could not reach Redis for a while: what is in flight counts, though it is one too many now."""
    held = leases.enter(TWO, (), 0, 0)
    other = leases.enter(TWO, held, 20, 20)
    assert leases.used(other, 20) == 1
    again = leases.renew(TWO, other, 0, 21)
    assert leases.used(again, 21) == 2


def test_requests_of_one_moment_are_renewed_together_and_freed_one_by_one() -> None:
    held = leases.enter(TWO, leases.enter(TWO, (), 0, 0), 0, 0)
    held = leases.renew(TWO, held, 0, 10)
    assert held == ((25, 0), (25, 0))
    held, found = leases.leave(held, 0, 12)
    assert (held, found) == (((12, 0), (25, 0)), True)
    assert leases.leave(((25, 0),), 1, 12) == (((25, 0),), False)


def test_reservation_has_no_lease_before_its_moment() -> None:
    assert leases.enter(TWO, (), 5, 0) == ()


def test_text_of_redis_is_read() -> None:
    assert leases.read("".join(f"{number:016}" for number in (15, 0, 19, 4))) == ((15, 0), (19, 4))
    assert leases.read("") == ()


def test_last_that_ended_tells_when_a_place_was_given_back() -> None:
    """Whether its request ended or its replica died; and it takes no place."""
    held, _ = leases.leave(leases.enter(TWO, leases.enter(TWO, (), 0, 0), 4, 4), 0, 6)
    assert (leases.freed_at(held, 6), leases.used(held, 6)) == (6, 1)
    assert leases.freed_at(held, 4 + LENGTH) == 4 + LENGTH
    assert leases.enter(TWO, held, 30, 30) == ((4 + LENGTH, 4), (30 + LENGTH, 30))
    assert leases.freed_at((), 5) == 0


def test_who_leaves_a_share_to_others_takes_none_of_the_last_places() -> None:
    held = leases.enter(TWO, (), 0, 0)
    assert leases.free_at(TWO, held, 5, 1) == 5
    assert leases.free_at(TWO, held, 5, 2) == LENGTH
