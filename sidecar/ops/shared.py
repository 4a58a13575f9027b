"""Gauges of what all replicas share: read from the store when Prometheus asks, at most every 5 s, else not at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sidecar.config.limits import label
from sidecar.model.configured import Config
from sidecar.model.labels import MOST_MODELS, OTHER, named_models
from sidecar.ops.metrics import Metrics
from sidecar.ops.survey import Cooldown, Survey, known_models, survey
from sidecar.pool.resting import DEAD
from sidecar.replica import Replica
from sidecar.store.connect import StoreAway, StoreUnable
from sidecar.store.upkeep import SHARED

FRESH_S = 5.0
MOST_FIELDS = 20_000  # of cooldowns for single models: what a scrape may make of the store's time


class Shared(Collector):
    """Collects the last survey. `refresh` is called before; without a store only `sidecar_store_up` is told."""

    def __init__(self, replica: Replica, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._replica, self._clock = replica, clock
        self._survey: Survey | None = None
        self._labels: frozenset[str] = frozenset()  # the models that have one of their own
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
            config, store = self._replica.state.config, self._replica.store
            try:
                models = await known_models(config, store)
                self._survey = await survey(config, store, _affordable(config, models))
                self._labels = _labels(config, models)
            except (StoreAway, StoreUnable):
                self._survey = None

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
        yield _cooldowns(rests, self._labels)
        yield _enabled(seen, rests)


def _affordable(config: Config, models: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """As many models of each pool as may be looked at, the config's own first."""
    most = MOST_FIELDS // max(1, 2 * sum(len(pool.keys) for pool in config.pools.values()))
    return {pool: names[:most] for pool, names in models.items()}


def _labels(config: Config, models: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    """The models that are told by their names: the config's own, then by name up to MOST_MODELS.

    Counters name the first that their process has served; a gauge must have the same names on every replica.
    """
    named = {model for names in named_models(config).values() for model in names}
    others = sorted({model for names in models.values() for model in names} - named)
    return frozenset({"", SHARED, *named, *others[: max(0, MOST_MODELS - len(named))]})


def _budgets(seen: Survey) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "sidecar_key_budget_remaining",
        'What a key\'s account, or with key "" the pool as a whole, has left of a limit; model: those that it counts',
        labels=("pool", "key", "model", "limit"),
    )
    for budget in seen.budgets():
        limit = budget.limit
        family.add_metric((budget.pool, budget.key, limit.model, label(limit)), budget.remaining)
    return family


def _cooldowns(rests: Iterable[Cooldown], labels: frozenset[str]) -> GaugeMetricFamily:
    """Of the models without a label of their own, which share `other`, the rest that ends last."""
    family = GaugeMetricFamily(
        "sidecar_key_cooldown_seconds",
        'How long a key or its account still rests; model "": for all models',
        labels=("pool", "key", "model", "reason"),
    )
    longest: dict[tuple[str, str, str, str], float] = {}
    for rest in rests:
        told = rest.pool, rest.key, rest.model if rest.model in labels else OTHER, rest.reason
        longest[told] = max(rest.seconds, longest.get(told, 0.0))
    for told, seconds in longest.items():
        family.add_metric(told, seconds)
    return family


def _enabled(seen: Survey, rests: Iterable[Cooldown]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "sidecar_key_enabled",
        "0 while the provider refuses the key for all models (invalid, without permission or unpaid), or while an "
        "operator has disabled it, else 1",
        labels=("pool", "key"),
    )
    dead = {(rest.pool, rest.key) for rest in rests if not rest.model and rest.proved and rest.reason in DEAD}
    for pool, key, _ in seen.keys:
        family.add_metric((pool, key.id), float((pool, key.id) not in dead and seen.disabled(key) is None))
    return family
