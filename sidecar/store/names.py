"""Every name that a namespace has in Redis. All carry one hash tag, so that one script may touch any of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date

from sidecar.model.configured import Limit
from sidecar.model.words import Rotation, Subject


@dataclass(frozen=True, slots=True)
class Names:
    """The Redis keys of one namespace."""

    namespace: str

    def _name(self, *parts: str) -> str:
        return ":".join((f"sc:{{{self.namespace}}}", *parts))

    @property
    def state(self) -> str:
        return self._name("state")

    def turns(self, rotation: Rotation) -> tuple[str, str, str]:
        """A rotation's sorted set, its hash, and its pool's wake set: what a script is told of a target."""
        which = (rotation.pool, rotation.digest, rotation.model)
        return self._name("rotation", *which), self._name("turn", *which), self.wake(rotation.pool)

    def wake(self, pool: str) -> str:
        return self._name("wake", pool)

    def models(self, pool: str) -> str:
        return self._name("models", pool)

    @property
    def drift(self) -> str:
        return self._name("drift")

    @property
    def replicas(self) -> str:
        return self._name("replicas")

    def usage(self, day: date | None) -> str:
        """What was counted on a day (UTC); None: since counting began."""
        return self._name("usage", f"{day:%Y%m%d}" if day else "total")

    def flushed(self, replica: str) -> str:
        return self._name("flushed", replica)

    def made(self, thing: str) -> str:
        """A hash stands for the id: some are long, and whoever has that of an upload may write to it."""
        return self._name("made", hashlib.blake2b(thing.encode(), digest_size=12).hexdigest())

    def answer(self, digest: str) -> str:
        """A cached answer, by what its request comes down to."""
        return self._name("cache", digest)

    def run(self, digest: str) -> str:
        """Which request is under way for all that ask the same."""
        return self._name("run", digest)

    @property
    def sizes(self) -> str:
        """How much the cached answers are."""
        return self._name("cached")


def window_field(account: str, limit: Limit) -> str:
    """The state's field that holds an account's window."""
    return f"w|{account}|{limit.name}"


def rest_field(subject: Subject) -> str:
    """The state's field that holds a cooldown."""
    if subject.account.startswith("+"):
        return f"c|pool|{subject.account[1:]}"
    if subject.account.startswith("!"):
        return f"c|provider|{subject.account[1:]}|{subject.model}"
    whole = f"c|account|{subject.account}" if subject.key is None else f"c|key|{subject.key}"
    return whole if subject.model is None else f"{whole}|{subject.model}"


def line_field(line: str) -> str:
    """The state's field of those who wait for a place among the requests in flight."""
    return f"line|{line}"


def off_field(key: str) -> str:
    """The state's field that is there while a key, by its fingerprint, is disabled."""
    return f"off|{key}"
