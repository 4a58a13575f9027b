"""Plays a history on a store and compares every answer, and at the end every window, with the model's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import redis

from sidecar.model import windows
from sidecar.store import scripts
from tests.property.history import NAMES, Play, describe, logs, play


def texts(exact: int = windows.EXACT) -> dict[str, str]:
    """The scripts with another maximum up to which windows are exact: a small one brings buckets into a history."""
    return {name: re.sub(r"EXACT = \d+", f"EXACT = {exact}", scripts.load(name).text) for name in scripts.NAMES}


def load(client: redis.Redis, scripts_of: dict[str, str]) -> dict[str, str]:
    """Loads the scripts and returns their SHAs."""
    return {name: str(client.script_load(text)) for name, text in scripts_of.items()}


def compare(client: redis.Redis, shas: dict[str, str], steps: Sequence[int]) -> Play:
    """Raises AssertionError with the history in words where the scripts and the model disagree."""
    history = play(steps)
    pipeline: Any = client.pipeline(transaction=False)
    pipeline.flushdb()
    for call, _, _ in history.script:
        pipeline.evalsha(shas[call.script], len(call.keys), *call.keys, *call.args)
    pipeline.hgetall(NAMES.state)
    _, *replies, state = pipeline.execute()
    for (call, read, expected), reply in zip(history.script, replies, strict=True):
        answer = read(reply)
        assert answer == expected, (
            f"{call.script} {call.args}\n  script: {answer}\n  model:  {expected}\n{describe(steps)}"
        )
    stored = {name.decode(): text.decode() for name, text in state.items() if name.startswith(b"w|")}
    told = {name: windows.read(text) for name, text in stored.items()}
    assert told == logs(history.state), f"windows differ\n{describe(steps)}"
    totals = {name: int(text[:16]) for name, text in stored.items()}
    assert totals == {name: sum(count for _, count in log) for name, log in told.items()}, "totals differ"
    return history
