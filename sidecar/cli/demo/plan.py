"""What the demo sets up, from four numbers: budgets that its waves exceed for seconds, and not on average."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass, field
from functools import cached_property

import orjson

from sidecar.simulate.ledger import Budget
from sidecar.simulate.provider import StrictProvider

WINDOW_S = 5
SPARE = 1.3  # the pool's budget over the mean rate
SWELL = 0.6  # how far the rate rises above and falls below its mean
PERIOD_S = 12.0


@dataclass(frozen=True)
class Plan:
    """How long, how many, how fast; and the secrets, by key id."""

    seconds: float
    replicas: int
    keys: int
    rate: float  # requests a second, on average
    secrets: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        made = {f"key-{number}": secrets.token_hex(16) for number in range(1, self.keys + 1)}
        object.__setattr__(self, "secrets", made)

    @cached_property
    def budget(self) -> Budget:
        """What each key may bring."""
        return Budget(max(2, math.ceil(SPARE * self.rate * WINDOW_S / self.keys)), WINDOW_S)

    def rate_at(self, elapsed_s: float) -> float:
        """Requests a second, in waves that begin with a rising one."""
        return self.rate * (1 + SWELL * math.sin(2 * math.pi * elapsed_s / PERIOD_S))

    def provider(self) -> StrictProvider:
        return StrictProvider(self.secrets.values(), [self.budget])

    def config(self, provider_url: str, store_url: str) -> bytes:
        """A sidecar.yaml; JSON is YAML."""
        pool = {
            "base_url": f"{provider_url}/v1",
            "dialect": "openai",
            "keys": [{"id": name, "secret": secret} for name, secret in self.secrets.items()],
            "limits": [{"requests": self.budget.max, "per": f"{WINDOW_S}s"}],
            "max_wait": "30s",
        }
        own = {
            "listen": "127.0.0.1:0",
            "ops_listen": "127.0.0.1:0",
            "failures": "off",  # the user's log is not for play
        }
        return orjson.dumps({**own, "redis": store_url, "pools": {"demo": pool}})
