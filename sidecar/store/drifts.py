"""What `lua/drift.lua` keeps of a key: moment and count, 16 digits each, then JSON that no script reads."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from sidecar.model.events import Drifted
from sidecar.model.outcomes import NamedLimit


@dataclass(frozen=True, slots=True)
class Told:
    """What is kept of a key's last drift."""

    model: str
    outcome: str  # a value of Class
    named: NamedLimit | None


@dataclass(frozen=True, slots=True)
class Drift:
    """A key's last drift, `at_us` of Redis's clock, and how many it has had."""

    at_us: int
    count: int
    told: Told


def write(event: Drifted) -> str:
    """What stands behind moment and count."""
    return msgspec.json.encode(Told(event.model, event.outcome, event.named)).decode()


def read(text: str) -> Drift:
    """The drift of a whole field."""
    return Drift(int(text[:16]), int(text[16:32]), msgspec.json.decode(text[32:], type=Told))
