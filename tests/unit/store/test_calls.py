"""What a script is called with costs nothing per limit, and is kept for each rotation once."""

from __future__ import annotations

from sidecar.model.words import Ask
from sidecar.store import calls
from sidecar.store.names import Names
from tests.store.asks import limit, rotation


def test_waits_of_any_length_keep_one_text_of_a_rotation() -> None:
    """A request that waited asks again with what is left of its wait: a number that never comes again."""
    turns, names = rotation(3, limit(7)), Names("kept")
    before = calls._target.cache_info().currsize
    asked = [calls.acquire(names, Ask((turns,), (wait_us,)), 0) for wait_us in range(1000, 1100)]
    assert calls._target.cache_info().currsize == before + 1
    assert len({call.args for call in asked}) == 100
    differing = [told for told in zip(*(call.args for call in asked), strict=True) if len(set(told)) > 1]
    assert differing == [tuple(str(wait_us) for wait_us in range(1000, 1100))]
