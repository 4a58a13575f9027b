"""Events as Prometheus counts them, on a registry of its own. Labels come from the config and from what was served."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import Gauge, Info
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

import sidecar
from sidecar.model.configured import Config
from sidecar.model.events import (
    Answered,
    Attempted,
    Drifted,
    Event,
    KeptChanged,
    KeyChanged,
    KeyManaged,
    LimitsNamed,
    Reloaded,
    StoreChanged,
)
from sidecar.model.labels import ModelLabels
from sidecar.model.outcomes import NamedLimit

# The sidecar's own share is tenths of milliseconds; an answer takes up to minutes.
_FAST_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2)
_WAIT_S = (0.001, 0.01, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
_SLOW_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)

Labels = tuple[str, ...]


class Metrics:
    """Counts what it is told."""

    def __init__(self, config: Config) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._model = ModelLabels(config)
        self._requests = self._counter("requests", "Requests answered", ("pool", "model", "client", "outcome"))
        self._attempts = self._counter("attempts", "Requests sent to a provider", ("pool", "key", "model", "outcome"))
        self._tokens = self._counter(
            "tokens", "Tokens; cached are input, reasoning output", ("pool", "key", "model", "kind")
        )
        self._cached = self._counter("cache_requests", "Requests by what the cache was to them", ("result",))
        self._drifts = self._counter("key_drift", "Refusals although the budget had room", ("pool", "key", "model"))
        self._named_limits = Gauge(
            "sidecar_key_named_limit",
            "The maximum of a limit as the provider last named it, on a success or a refusal",
            ("pool", "key", "model", "limit"),
            registry=self.registry,
        )
        self._keys = self._counter(
            "key_changes", "Changes of a key, each counted by the replica that made it", ("pool", "key", "change")
        )
        self._store = self._counter(
            "store_changes", "How often the store went away, came back or was emptied", ("change",)
        )
        self._kept = Gauge(
            "sidecar_keeps",
            "0 while the cache keeps no answers, or Redis is too full for ids of what accounts made; 1 once it is over",
            ("what",),
            registry=self.registry,
        )
        self._reloads = self._counter("config_reloads", "Readings of the config after the first", ("result",))
        self._reloaded = Gauge(
            "sidecar_config_last_reload_successful",
            "0 while the config as it is now is rejected, and the one before it runs on",
            registry=self.registry,
        )
        self._reloaded.set(1)
        self.inflight = Gauge("sidecar_inflight_requests", "Requests under way", registry=self.registry)
        self._acquire = self._histogram("acquire", "Asking the store for keys, over all attempts", _FAST_S)
        self._wait = self._histogram("wait", "Waiting for room in a budget, or for the store", _WAIT_S)
        self._overhead = self._histogram("overhead", "All but the wait and the provider", _FAST_S)
        self._first_byte = self._histogram("upstream_first_byte", "From a send to its first byte", _SLOW_S)
        self._request = self._histogram("request", "The whole request", _SLOW_S)
        Info("sidecar_build", "What runs", registry=self.registry).info({"version": sidecar.__version__})

    def _counter(self, name: str, text: str, labels: Labels) -> _Counter:
        counter = _Counter(f"sidecar_{name}", text, labels)
        self.registry.register(counter)
        return counter

    def _histogram(self, name: str, text: str, bounds: tuple[float, ...]) -> _Histogram:
        histogram = _Histogram(f"sidecar_{name}_seconds", text, bounds)
        self.registry.register(histogram)
        return histogram

    def follow(self, config: Config) -> None:
        """The models that this config names have labels of their own. Those of pools before it stay, as counters do."""
        self._model.follow(config)

    def __call__(self, event: Event) -> None:
        """Listens."""
        match event:
            case Answered():
                self._answered(event)
            case Attempted():
                self._attempted(event)
            case KeyChanged(pool, key, reason=reason, seconds=seconds, proved=proved):
                # What it is suspected of is counted under its name once it is proved: a death is one.
                suspected = seconds and not proved
                self._keys.inc((pool, key, "suspected" if suspected else reason.replace(" ", "_")))
            case KeyManaged(pool, key, change, elsewhere=False):
                self._keys.inc((pool, key, change))
            case StoreChanged(up, emptied):
                self._store.inc(("emptied" if emptied else "back" if up else "away",))
            case KeptChanged(what, works):
                self._kept.labels(what).set(works)
            case Reloaded(problems=problems):
                self._reloads.inc(("rejected" if problems else "ok",))
                self._reloaded.set(not problems)
            case Drifted():
                self._drifted(event)
            case LimitsNamed(pool, key, model, limits):
                self._name_limits(pool, key, self._model(pool, model, None), limits)

    def _drifted(self, event: Drifted) -> None:
        model = self._model(event.pool, event.model, None)
        self._drifts.inc((event.pool, event.key, model))
        self._name_limits(event.pool, event.key, model, (event.named,) if event.named else ())

    def _name_limits(self, pool: str, key: str, model: str, limits: tuple[NamedLimit, ...]) -> None:
        for limit in limits:
            if limit.max is not None:
                window = f"{limit.unit}/{limit.per}" if limit.per else limit.unit
                self._named_limits.labels(pool, key, model, window).set(limit.max)

    def _answered(self, event: Answered) -> None:
        pool = event.pool if self._model.knows(event.pool) else ""
        model = self._model(pool, event.model, event.status)
        self._requests.inc((pool, model, event.client, event.outcome))
        self._request.observe(event.total_s)
        if event.cache:
            self._cached.inc((event.cache,))
        if event.acquire_s:
            self._acquire.observe(event.acquire_s)
            self._wait.observe(event.waited_s)
        if event.attempts:
            self._overhead.observe(max(0.0, event.total_s - event.waited_s - event.upstream_s))

    def _attempted(self, event: Attempted) -> None:
        model = self._model(event.pool, event.model, event.status)
        self._attempts.inc((event.pool, event.key, model, event.outcome))
        if event.first_byte_s is not None:
            self._first_byte.observe(event.first_byte_s)
        if event.usage is not None:
            for kind, count in event.usage.kinds:
                self._tokens.inc((event.pool, event.key, model, kind), count)


# The library's own lock each number, a dozen a request. Here one thread counts; a scrape, in another one, copies.


class _Counter(Collector):
    def __init__(self, name: str, text: str, labels: Labels) -> None:
        self._told = name, text, labels
        self._counts: defaultdict[Labels, int] = defaultdict(int)

    def inc(self, labels: Labels, by: int = 1) -> None:
        self._counts[labels] += by

    def collect(self) -> Iterator[CounterMetricFamily]:
        name, text, labels = self._told
        family = CounterMetricFamily(name, text, labels=labels)
        for values, count in self._counts.copy().items():
            family.add_metric(values, count)
        yield family


class _Histogram(Collector):
    def __init__(self, name: str, text: str, bounds: tuple[float, ...]) -> None:
        self._told, self._bounds = (name, text), bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterator[HistogramMetricFamily]:
        ends = [*map(floatToGoString, self._bounds), "+Inf"]
        counts = accumulate(self._counts.copy())
        yield HistogramMetricFamily(*self._told, buckets=[*zip(ends, counts, strict=True)], sum_value=self._sum)
