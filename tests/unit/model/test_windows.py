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
    return moment if limit.max <= windows.EXACT else windows.rounded_up(limit, moment)


@given(LIMITS, GAPS, st.integers(0, 500))
def test_room_exists_from_the_first_moment_at_which_fewer_than_the_maximum_count(
    limit: Limit, gaps: list[int], more: int
) -> None:
    """`free_at` is that moment exactly: a microsecond earlier there is none."""
    moments = [as_kept(limit, sum(gaps[: i + 1])) for i in range(len(gaps))] * (1 + more % limit.max)
    free = windows.free_at(limit, log_of(limit, moments), 0)
    assert counted(moments, limit, free) < limit.max
    if free:
        assert counted(moments, limit, free - 1) >= limit.max
    else:
        assert len(moments) < limit.max


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
