"""What a call may cost is found when it is asked for, and once."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from sidecar.model.configured import Parameters, Target
from sidecar.model.words import Estimate
from sidecar.providers import estimates
from sidecar.providers.catalogue import DIALECTS
from sidecar.proxy.call import Call, Place

BODY = b'{"model":"m","max_tokens":40,"messages":[]}'
TO = (Target("p", "m"),)


def test_a_call_is_estimated_once_however_many_keys_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def estimate(*given: object) -> Estimate:
        asked.append(given)
        return Estimate(11, 40)

    monkeypatch.setattr(estimates, "estimate", estimate)
    dialect = DIALECTS["openai"]
    place = Place(dialect, dialect, "/v1/", "chat/completions")
    reading = dialect.read_call("POST", place.operation, "application/json", BODY)
    call = Call("r", "POST", place, "", CIMultiDict(), "application/json", BODY, reading, None)
    assert not asked
    assert [call.estimate(TO), call.estimate(TO)] == [Estimate(11, 40)] * 2
    assert asked == [("POST", "chat/completions", "application/json", BODY, {Parameters()})]
