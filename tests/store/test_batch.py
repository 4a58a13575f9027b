"""A backlog of batch leaves its share free at every moment, also where moments are rounded to sixtieths."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.model.configured import SECOND_US
from sidecar.model.words import Grant
from sidecar.store import calls, upkeep
from sidecar.store.names import Names
from tests.store.asks import ask, limit, rotation, run
from tests.store.conftest import Place

NAMES = Names("test")
NOW = 1_790_000_000_123_457


@pytest.mark.parametrize("most", [50, 100])
def test_a_backlog_of_batch_leaves_others_their_share_of_every_window(place: Place, most: int) -> None:
    turns = rotation(1, limit(most, 60, guard_us=SECOND_US))
    run(place.raw, upkeep.register(NAMES, turns, str(NOW)))
    patient = replace(ask(turns, max_wait_s=240), shares=(0.2,))
    for n in range(3 * most):
        run(place.raw, calls.acquire(NAMES, patient, NOW + n * 1000, str(NOW + n * 1000)))
    served = []
    for second in range(1, 180):
        now = NOW + second * SECOND_US
        answer = calls.read_acquire(ask(turns), run(place.raw, calls.acquire(NAMES, ask(turns), now, str(now))))
        served += [second] if isinstance(answer, Grant) else []
    assert served[: most // 5] == list(range(1, 1 + most // 5))
    assert len(served) == 3 * most // 5
