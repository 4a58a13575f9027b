"""Whether a Redis may evict what the budgets rest on: what it says of its memory, in words for people."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.store.calls import Call
from sidecar.store.names import Names

_MIB = 1024 * 1024


def memory(names: Names) -> Call:
    """Asks it."""
    return Call("memory", (names.state,), ())


def risk(reply: Sequence[bytes]) -> str:
    """Why budgets may be lost, as lua/memory.lua's answer has it, and what to do; "": they may not, or it does not say.

    A bound alone is none: with `noeviction` a full Redis refuses, and requests with it. All other policies may take the
    state: it has a TTL, so `volatile-*` may too.
    """
    if not reply:
        return ""
    used, most, policy = int(reply[0]), int(reply[1]), reply[2].decode()
    if not most or policy in {"", "noeviction"}:
        return ""
    return (
        f"Redis may evict budgets, which start from zero then: its maxmemory-policy is {policy}, and it uses "
        f"{used / _MIB:.1f} of {most / _MIB:.1f} MiB. Set it to noeviction there, or `redis` to one that has it."
    )
