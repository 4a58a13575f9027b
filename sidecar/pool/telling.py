"""What came of a report, told to those who listen: of keys, in the words of the config."""

from __future__ import annotations

import math
from dataclasses import replace

from sidecar.model.configured import SECOND_US, Config, Key, Pool
from sidecar.model.events import Drifted, Emit, KeyChanged
from sidecar.model.rests import NEVER
from sidecar.model.words import Report, Reported, Subject
from sidecar.pool.search import Held
from sidecar.store.commands import Store


class Telling:
    """Of the pools of one config."""

    def __init__(self, config: Config, store: Store, emit: Emit) -> None:
        self.config, self.store, self._emit = config, store, emit

    def told(self, report: Report, held: Held, reported: Reported, drift: Drifted | None) -> None:
        for rest, rests_us in zip(report.rests, reported.rests, strict=True):
            if rests_us is not None:
                self._changed(report, rest.subject, held, rest.reason, rests_us, rest.proved)
                if drift is not None:
                    self._drifted(held, drift)
        for subject in reported.freed:
            self._changed(report, subject, held, "taken back", 0, True)
        if reported.pool_rests_us:
            pool = KeyChanged(
                held.pool.name, "", None, "throttled", reported.pool_rests_us / SECOND_US, True, report.request
            )
            self._emit(pool)
        for subject, taken_back in zip(report.clears, reported.clears, strict=True):
            if taken_back:
                self._changed(report, subject, held, "taken back", 0, False)
        for subject, ended in zip(report.ends, reported.ends, strict=False):
            if ended:
                self._changed(report, subject, held, "works again", 0, True)

    def _drifted(self, held: Held, event: Drifted) -> None:
        """Queues a refusal that our budgets did not expect, and tells of it unless it belongs to one told before."""

        def told(count: int) -> None:
            if count:
                self._emit(replace(event, count=count))

        self.store.drifted(held.key.fingerprint, held.grant, event, told)

    def _changed(self, report: Report, subject: Subject, held: Held, reason: str, rests_us: int, proved: bool) -> None:
        """Tells of a key, unless no config here has it: then who has it set what is over."""
        named = self._named(subject, held)
        if named is not None:
            seconds = math.inf if rests_us > NEVER // 2 else rests_us / SECOND_US
            pool, key = named
            self._emit(KeyChanged(pool.name, key.id, subject.model, reason, seconds, proved, report.request))

    def _named(self, subject: Subject, held: Held) -> tuple[Pool, Key] | None:
        """A pool and a key that the subject means: those at hand where they fit, else the first in config order."""
        pools = (held.pool, *self.config.pools.values())
        known = [(held.pool, held.key), *((pool, key) for pool in pools for key in pool.keys)]
        meant = (
            (pool, key)
            for pool, key in known
            if key.account == subject.account and subject.key in {None, key.fingerprint}
        )
        return next(meant, None)
