"""An overload is served as fast as budgets allow, and who may not be served learns it at once."""

from __future__ import annotations

import pytest

from tests.bench.saturation import BUCKETS, EXACT, Budgets, overload


@pytest.mark.parametrize(("budgets", "least"), [(EXACT, 0.97), (BUCKETS, 0.95)], ids=["exact", "buckets"])
async def test_ten_times_the_capacity_is_served_as_far_as_budgets_go(
    redis_url: str, budgets: Budgets, least: float
) -> None:
    """A minute of it: `python -m tests.bench.saturation`."""
    load = await overload(redis_url, budgets, seconds=14)
    assert load.share >= least
    assert (load.violations, load.excess) == (0, 0)
    assert load.refused_late == 0, "who waited is served"
    assert set(load.statuses) == {200, 429}
