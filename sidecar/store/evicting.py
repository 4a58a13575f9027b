"""How full a Redis is, and whether it may evict what the budgets rest on: what it says of its memory, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sidecar.store.calls import Call
from sidecar.store.names import Names

_MIB = 1024 * 1024


class Memory(NamedTuple):
    """What a Redis says of it."""

    used: int = 0  # bytes
    most: int = 0  # bytes (maxmemory); 0: no bound, or it does not say
    policy: str = ""  # maxmemory-policy

    def above(self, share: float) -> bool:
        """Whether it uses more than that of what it may."""
        return 0 < self.most * share < self.used

    @property
    def told(self) -> str:
        """In words."""
        return f"Redis uses {self.used / _MIB:.1f} MiB of its {self.most / _MIB:.1f} MiB (maxmemory)"

    @property
    def risk(self) -> str:
        """Why budgets may be lost, and what to do; "": they may not, or it does not say.

        A bound alone is none: with `noeviction` a full Redis refuses, and requests with it. All other policies may take
        the state: it has a TTL, so `volatile-*` may too.
        """
        if not self.most or self.policy in {"", "noeviction"}:
            return ""
        return (
            f"Redis may evict budgets, which start from zero then: its maxmemory-policy is {self.policy}, and it uses "
            f"{self.used / _MIB:.1f} of {self.most / _MIB:.1f} MiB. Set it to noeviction there, or `redis` to one that "
            "has it."
        )


def memory(names: Names) -> Call:
    """Asks it."""
    return Call("memory", (names.state,), ())


def read(reply: Sequence[bytes]) -> Memory:
    """As lua/memory.lua answers."""
    return Memory(int(reply[0]), int(reply[1]), reply[2].decode()) if reply else Memory()
