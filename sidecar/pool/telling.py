"""What came of a report, told to those who listen: of keys, in the words of the config."""

from __future__ import annotations

import math
from asyncio import Task, create_task, sleep
from contextlib import suppress
from dataclasses import replace

from sidecar.model import rests
from sidecar.model.bearing import resting_pool
from sidecar.model.configured import SECOND_US, Config, Key, Pool
from sidecar.model.events import Drifted, Emit, KeyChanged
from sidecar.model.reports import THROTTLED_WITHIN_US
from sidecar.model.words import Report, Reported, Rest, Subject
from sidecar.pool.drifting import is_doubtful
from sidecar.pool.search import Held
from sidecar.store.commands import Store
from sidecar.store.connect import StoreAway, StoreUnable
from sidecar.store.names import rest_field

DOUBT_S = THROTTLED_WITHIN_US / SECOND_US  # after which a refusal is known not to be the provider's throttle


class Telling:
    """Of the pools of one config."""

    def __init__(self, config: Config, store: Store, emit: Emit) -> None:
        self.config, self.store, self._emit = config, store, emit
        self._doubts: set[Task[None]] = set()

    def told(self, report: Report, held: Held, reported: Reported, drift: Drifted | None) -> None:
        for rest, rests_us in zip(report.rests, reported.rests, strict=True):
            if rests_us is not None:
                self._changed(report, rest.subject, held, rest.reason, rests_us, rest.proved)
                if drift is not None and is_doubtful(drift, rest, held.pool):
                    doubt = create_task(self._doubted(rest, rests_us, held, drift))
                    self._doubts.add(doubt)
                    doubt.add_done_callback(self._doubts.discard)
                elif drift is not None:
                    self._drifted(held, drift)
        for subject in reported.freed:
            self._changed(report, subject, held, "taken back", 0, True)
        if reported.pool_rests_us:
            pool = KeyChanged(
                held.pool.name, "", None, "throttled", reported.pool_rests_us / SECOND_US, True, report.request
            )
            self._emit(pool)
        if reported.provider_rests_us:
            seconds = reported.provider_rests_us / SECOND_US
            model = held.model or None
            self._emit(KeyChanged(held.pool.name, "", model, "overloaded", seconds, True, report.request))
        for subject, taken_back in zip(report.clears, reported.clears, strict=True):
            if taken_back:
                self._changed(report, subject, held, "taken back", 0, False)
        for subject, ended in zip(report.ends, reported.ends, strict=False):
            if ended:
                self._changed(report, subject, held, "works again", 0, True)

    async def _doubted(self, rest: Rest, rests_us: int, held: Held, drift: Drifted) -> None:
        """Tells of a drift once it is known to be one: no replica has found the provider's throttle since.

        That takes back a rest whose length nobody named, also where a success has ended the pool's own by now. A rest
        that was over by then may have been ended by a success as well.
        """
        await sleep(DOUBT_S)
        own, pools = rest_field(rest.subject), rest_field(resting_pool(held.pool.name))
        with suppress(StoreAway, StoreUnable):
            fields = (await self.store.inspect((own, pools))).fields
            taken_back = rest.most_us > 0 and rests_us > DOUBT_S * SECOND_US and fields[own] is None
            paused = fields[pools]
            if not taken_back and (paused is None or rests.read(paused).since < held.grant.moment_us):
                self._drifted(held, drift)

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
            seconds = math.inf if rests_us > rests.NEVER // 2 else rests_us / SECOND_US
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
