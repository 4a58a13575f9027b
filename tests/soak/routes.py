"""The names that the soak's clients ask for: of pools and their models, and of routes, as a config says them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CACHED, OWN = "cached", "own"  # whose answers are kept: for all, for their client
BREAKS, REPEATS, SHARED = "fragile/frail-1", "stubborn/frail-2", "shared"  # at the provider that dies now and then
FRAIL = (BREAKS, REPEATS)  # who hear of it
MASKED = (CACHED, OWN, SHARED)

ROUTES: Mapping[str, Any] = {
    "main": [{"pool": "chat", "model": "gpt-4o"}, {"pool": "spare", "model": "gpt-4o-mini"}],
    CACHED: {"targets": [{"pool": "roomy", "model": "kept-1"}], "mask_model": True, "cache": {"ttl": "20s"}},
    OWN: {
        "targets": [{"pool": "roomy", "model": "kept-1"}],
        "mask_model": True,
        "cache": {"ttl": "20s", "scope": "client"},
    },
    SHARED: {
        "targets": [
            {"pool": "fragile", "model": "frail-1", "weight": 1},
            {"pool": "roomy", "model": "gpt-4o", "weight": 1},
        ],
        "fallback_on": ["overloaded", "server_error", "connect"],
        "mask_model": True,
    },
}
