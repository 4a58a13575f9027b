"""The clock of the scripts never goes back, and forgets that it once had to as soon as it can."""

from __future__ import annotations

from sidecar.model.configured import SECOND_US, Limit
from sidecar.model.words import Confirmed, Grant, Refusal
from sidecar.store import calls, upkeep
from sidecar.store.names import Names
from tests.store.asks import GUARD_US, ask, granted, limit, rotation, run
from tests.store.conftest import Place

NAMES = Names("test")
NOW = 1_790_000_000_000_000
HOUR = 3600 * SECOND_US


def acquire(place: Place, now: int, *limits: Limit, max_wait_s: float = 0) -> Grant | Refusal:
    """At the moment that Redis's own clock says."""
    asked = ask(rotation(1, *limits), max_wait_s=max_wait_s)
    run(place.raw, upkeep.register(NAMES, asked.rotations[0], str(now)))
    answer = calls.read_acquire(asked, run(place.raw, calls.acquire(NAMES, asked, now, str(now))))
    assert isinstance(answer, Grant | Refusal)
    return answer


def now_of(place: Place, raw: int) -> int:
    """What the scripts take for now while Redis's clock says `raw`."""
    return int(run(place.raw, upkeep.inspect(NAMES, (), now=str(raw)))[0])


def test_clock_stepped_back_goes_on_from_the_last_write_and_slower(place: Place) -> None:
    """A failover to a node an hour behind: no window ends earlier than it must, and each lasts a ninth longer."""
    first = granted(acquire(place, NOW, limit(1)))
    assert acquire(place, NOW - HOUR, limit(1)) == Refusal(60 * SECOND_US + GUARD_US)
    assert acquire(place, NOW - HOUR + 10 * SECOND_US, limit(1)) == Refusal(51 * SECOND_US + GUARD_US)
    again = granted(acquire(place, NOW - HOUR + 68 * SECOND_US, limit(1)))
    assert again.moment_us == first.moment_us + round(61.2 * SECOND_US)


def test_second_step_back_adds_to_the_first(place: Place) -> None:
    granted(acquire(place, NOW))
    granted(acquire(place, NOW - HOUR))
    granted(acquire(place, NOW - 3 * HOUR))
    assert now_of(place, NOW - 3 * HOUR + 10 * SECOND_US) == NOW + 9 * SECOND_US


def test_time_comes_right_again_while_it_is_written_down_without_a_pause(place: Place) -> None:
    """Ten seconds ahead are made up for within a hundred, so that a day is the provider's day again."""
    for second in range(-10, 100):
        acquire(place, NOW + (second if second > -10 else 0) * SECOND_US)
    assert now_of(place, NOW + 100 * SECOND_US) == NOW + 100 * SECOND_US


def test_offset_is_dropped_once_the_clock_is_past_it(place: Place) -> None:
    """Mending the clock is no step forward: no window ends early for it."""
    granted(acquire(place, NOW, limit(1)))
    acquire(place, NOW - HOUR, limit(1))  # registers, and so writes the offset down
    assert now_of(place, NOW - 10 * SECOND_US) == NOW + (HOUR - 10 * SECOND_US) * 9 // 10
    assert now_of(place, NOW + 1) == NOW + 1
    granted(acquire(place, NOW + HOUR, limit(1)))
    assert place.raw.hget(NAMES.state, "clock") == f"{NOW + HOUR:016}{0:016}".encode()


def test_reads_do_not_move_the_clock(place: Place) -> None:
    """A confirm on time and an inspect write nothing, also no clock."""
    grant = granted(acquire(place, NOW, limit(1)))
    before = place.raw.hgetall(NAMES.state)
    confirmed = calls.read_confirm(run(place.raw, calls.confirm(NAMES, grant, ["p"], NOW, str(NOW + GUARD_US))))
    assert confirmed == Confirmed(NOW, GUARD_US)
    now_of(place, NOW + HOUR)
    assert place.raw.hgetall(NAMES.state) == before


def test_moments_keep_all_their_digits(place: Place) -> None:
    """A moment of 16 digits comes back as it was written, also one that a double with 15 would round."""
    odd = 1_790_000_000_000_001
    assert granted(acquire(place, odd, limit(1))).moment_us == odd
    assert granted(acquire(place, odd, limit(1), max_wait_s=90)).moment_us == odd + 60 * SECOND_US + GUARD_US
