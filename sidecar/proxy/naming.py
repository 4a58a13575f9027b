"""The limits that successes name, read now and then: all headers of all answers would cost more than they tell.

Nothing rests for them (providers/limits.py says why). They are for whoever compares them with the config.
"""

from __future__ import annotations

import math
from time import monotonic

from sidecar.model.events import Emit, LimitsNamed
from sidecar.providers import limits
from sidecar.proxy.attempt import Answer

EVERY_S = 60.0
MOST = 4096  # keys and models remembered; clients name any model


class Naming:
    """Remembers when it last looked at an answer of each key and model."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._looked: dict[tuple[str, str, str], float] = {}

    def see(self, answer: Answer) -> None:
        """Emits what an answer names, if it is a success and the last look is a minute past."""
        reply, now = answer.reply, monotonic()
        of = answer.held.pool.name, answer.held.key.id, answer.model
        if reply.status >= 300 or now - self._looked.get(of, -math.inf) < EVERY_S:
            return
        if len(self._looked) >= MOST:
            self._looked.clear()
        self._looked[of] = now
        told = limits.told(reply.seen.headers, reply.seen.now_s)
        if told:
            self._emit(LimitsNamed(*of, told))
