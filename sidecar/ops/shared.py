"""Gauges of what all replicas share: read from the store when Prometheus asks, at most every 5 s, else not at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sidecar.config.limits import per
from sidecar.ops.metrics import Metrics
from sidecar.ops.survey import Cooldown, Survey, survey
from sidecar.pool.resting import DEAD
from sidecar.replica import Replica
from sidecar.store.connect import StoreAway, StoreUnable

FRESH_S = 5.0
MOST_FIELDS = 20_000  # of cooldowns for single models: what a scrape may make of the store's time


class Shared(Collector):
    """Collects the last survey. `refresh` is called before; without a store only `sidecar_store_up` is told."""

    def __init__(self, replica: Replica, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._replica, self._metrics, self._clock = replica, metrics, clock
        self._survey: Survey | None = None
        self._at = float("-inf")
        self._one = asyncio.Lock()
        metrics.inflight.set_function(lambda: replica.inflight)
        metrics.registry.register(self)

    async def refresh(self) -> None:
        """Reads the shared state anew if the last reading is older than FRESH_S."""
        async with self._one:
            now = self._clock()
            if self._survey is not None and now - self._at < FRESH_S:
                return
            self._at = now
            config = self._replica.state.config
            try:
                self._survey = await survey(config, self._replica.store, self._models())
            except (StoreAway, StoreUnable):
                self._survey = None

    def _models(self) -> dict[str, tuple[str, ...]]:
        """As many models of each pool as may be looked at, the config's own first."""
        pools = self._replica.state.config.pools
        most = MOST_FIELDS // max(1, 2 * sum(len(pool.keys) for pool in pools.values()))
        return {name: tuple(models)[:most] for name, models in self._metrics.models.items() if name in pools}

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing: the registry need not collect to know the names."""
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        seen = self._survey
        up = self._replica.store.up.is_set() and seen is not None
        yield GaugeMetricFamily("sidecar_store_up", "Whether the store answers", value=float(up))
        if seen is None or not up:
            return
        yield GaugeMetricFamily("sidecar_replicas", "Replicas that share the store", value=self._replica.alive)
        rests = tuple(seen.cooldowns())
        yield _budgets(seen)
        yield _cooldowns(rests)
        yield _enabled(seen, rests)


def _budgets(seen: Survey) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "sidecar_key_budget_remaining",
        "What a key's account may still be sent in a limit's window, or for the models that the limit names",
        labels=("pool", "key", "model", "limit"),
    )
    for budget in seen.budgets():
        limit = budget.limit
        labels = (budget.pool, budget.key, limit.model, f"{limit.unit}/{per(limit.window_us)}")
        family.add_metric(labels, budget.remaining)
    return family


def _cooldowns(rests: Iterable[Cooldown]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "sidecar_key_cooldown_seconds",
        'How long a key or its account still rests; model "": for all models',
        labels=("pool", "key", "model", "reason"),
    )
    for rest in rests:
        family.add_metric((rest.pool, rest.key, rest.model, rest.reason), rest.seconds)
    return family


def _enabled(seen: Survey, rests: Iterable[Cooldown]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "sidecar_key_enabled",
        "0 while the provider refuses the key for all models (invalid, without permission or unpaid), else 1",
        labels=("pool", "key"),
    )
    dead = {(rest.pool, rest.key) for rest in rests if not rest.model and rest.proved and rest.reason in DEAD}
    for pool, key, _ in seen.keys:
        family.add_metric((pool, key.id), float((pool, key.id) not in dead))
    return family
