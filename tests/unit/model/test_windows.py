"""A sliding window admits no more than its maximum, wherever one looks, and admits again as soon as it may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import windows
from sidecar.model.configured import Limit

EXACT = st.builds(Limit, st.just("requests"), st.integers(1, 5), st.integers(60, 400), st.integers(0, 40))
BUCKETS = st.builds(
    Limit, st.just("requests"), st.integers(windows.EXACT + 1, windows.EXACT + 5), st.integers(60, 400), st.just(7)
)
LIMITS = EXACT | BUCKETS
GAPS = st.lists(st.integers(0, 300), max_size=30)


def log_of(limit: Limit, moments: Sequence[int], now: int = 0) -> windows.Log:
    log: windows.Log = ()
    for moment in moments:
        log = windows.enter(limit, log, moment, now)
    return log


def counted(moments: Sequence[int], limit: Limit, at: int) -> int:
    """How many of these grants may still count for a grant at this moment, by looking at each."""
    return sum(moment + limit.window_us + limit.guard_us > at for moment in moments)


def as_kept(limit: Limit, moment: int) -> int:
    return windows._stamp(limit, moment)


def overfull(limit: Limit, moments: Sequence[int], at: int) -> bool:
    """Whether one more then would leave a window with too many, by looking at every window that holds it."""
    length, everything = limit.window_us + limit.guard_us, [*moments, at]
    begins = range(at - length + 1, at + 1)
    return any(sum(begin <= moment < begin + length for moment in everything) > limit.max for begin in begins)


@given(EXACT, GAPS, st.integers(0, 2000))
def test_room_is_at_the_first_moment_that_leaves_no_window_with_too_many(limit: Limit, gaps: list[int], t: int) -> None:
    """Between grants and reservations alike: not a microsecond later, but for a sixtieth before a reservation."""
    moments: list[int] = []
    for moment in (sum(gaps[: i + 1]) for i in range(len(gaps))):
        if not overfull(limit, moments, moment):
            moments.append(moment)
    free = windows.free_at(limit, log_of(limit, moments), t)
    assert not overfull(limit, moments, free)
    earlier = (at for at in range(t, free) if not overfull(limit, moments, at))
    reach = limit.window_us + limit.guard_us + -(-limit.window_us // 60)
    assert all(any(at < moment < at + reach for moment in moments) for at in earlier)
    if not moments or moments[-1] <= t:
        assert not list(earlier)


def test_what_is_reserved_for_later_leaves_room_before_it() -> None:
    limit = Limit("requests", 1, 600, 0)
    log = log_of(limit, [5555])
    assert windows.free_at(limit, log, 0) == 0
    assert windows.free_at(limit, log, 4955) == 4955
    assert windows.free_at(limit, log, 4956) == 6155


def test_what_nobody_is_refused_for_is_kept_in_sixtieths() -> None:
    """So it is bounded too, whatever its maximum."""
    counting = Limit("requests", 1, 6000, 0, enforce=False)
    assert len(log_of(counting, range(6000), 0)) <= 61


@given(LIMITS, st.lists(st.tuples(st.integers(0, 100), st.integers(0, 3)), min_size=1, max_size=150))
def test_no_window_holds_more_than_the_maximum(limit: Limit, steps: list[tuple[int, int]]) -> None:
    """Grants at the moments that `free_at` names, now or reserved, some of them given back."""
    log: windows.Log = ()
    now, sent = 1000, list[int]()
    for gap, what in steps:
        now += gap
        if what == 3 and sent:
            log, _ = windows.leave(limit, log, sent.pop(gap % len(sent)), now)
        moment = windows.free_at(limit, log, now)
        if what == 0 and moment > now:
            continue
        log = windows.enter(limit, log, moment, now)
        sent.append(moment)
    for last in sent:
        inside = [moment for moment in sent if last - limit.window_us - limit.guard_us < moment <= last]
        assert len(inside) <= limit.max


@given(LIMITS, GAPS)
def test_log_is_ascending_and_counts_every_grant(limit: Limit, gaps: list[int]) -> None:
    log = log_of(limit, gaps)
    assert [moment for moment, _ in log] == sorted({as_kept(limit, moment) for moment in gaps})
    assert sum(count for _, count in log) == len(gaps)


@given(LIMITS, GAPS, st.integers(0, 300))
def test_leaving_undoes_entering(limit: Limit, gaps: list[int], moment: int) -> None:
    """In whatever order grants came: a reservation that is given back was never there."""
    before = log_of(limit, gaps)
    after, found = windows.leave(limit, windows.enter(limit, before, moment, 0), moment, 0)
    assert (after, found) == (before, True)


@given(LIMITS, GAPS, st.integers(0, 1000))
def test_entries_go_when_they_can_matter_to_nobody(limit: Limit, gaps: list[int], now: int) -> None:
    """At `moment + window + guard`, not earlier: what is kept is what counts."""
    kept = windows.enter(limit, log_of(limit, gaps), now, now)
    stamps = [as_kept(limit, moment) for moment in gaps]
    assert sum(count for _, count in kept) == counted(stamps, limit, now) + 1
    assert windows.used(limit, kept, now) == counted(stamps, limit, now) + 1


@given(BUCKETS, st.integers(0, 10**16))
def test_buckets_round_up_by_less_than_a_sixtieth(limit: Limit, moment: int) -> None:
    rounded = windows.rounded_up(limit, moment)
    assert 0 <= rounded - moment < -(-limit.window_us // 60)
    assert windows.rounded_up(limit, rounded) == rounded


@given(BUCKETS, st.lists(st.integers(0, 50), max_size=400))
def test_buckets_bound_the_length(limit: Limit, gaps: list[int]) -> None:
    """However large the maximum, a window is some sixty pairs."""
    log: windows.Log = ()
    now = 0
    for gap in gaps:
        now += gap
        log = windows.enter(limit, log, now, now)
        assert len(log) <= 60 * (limit.window_us + limit.guard_us) // limit.window_us + 3


@given(BUCKETS, st.integers(0, 300), st.booleans())
def test_one_kind_leaves_what_the_other_entered(limit: Limit, moment: int, raised: bool) -> None:
    """A maximum that was lowered or raised meanwhile does not strand a reservation."""
    small = replace(limit, max=windows.EXACT)
    entered_by, left_by = (small, limit) if raised else (limit, small)
    assert windows.leave(left_by, windows.enter(entered_by, (), moment, 0), moment, 0) == ((), True)


def test_text_of_redis_is_read_behind_its_total() -> None:
    numbers = (3, 1_790_000_000_000_000, 2, 1_790_000_000_000_001, 1)
    text = "".join(f"{number:016}" for number in numbers)
    assert windows.read(text) == ((1_790_000_000_000_000, 2), (1_790_000_000_000_001, 1))
    assert windows.read("") == ()
