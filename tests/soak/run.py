"""One soak from its first request to its verdict: calm and storm in turn, and after each the books."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.replicas.test_secrets import dump, leaks
from tests.soak import belonging, callers, checks, outages, scenes, stampedes
from tests.soak.faults import CALM, Faults, under
from tests.soak.plan import PROBED_S, Plan, Round
from tests.soak.pools import GUARD_S, LONG, POOLS, SHORT, full
from tests.soak.screen import Screen, counted
from tests.soak.traffic import TOTAL_S, Clients
from tests.soak.verdict import Promise, Verdict, seen
from tests.soak.watch import Books, Watch, watching
from tests.soak.world import Replica, World, moment, now, world

SETTLED_S = 1.0  # for what is queued without anybody waiting: releases
QUIET_S = TOTAL_S + 10  # in which every request must have ended
MEMORY_SLACK_MIB, DESCRIPTORS_SLACK = 8.0, 12
LEASE_S = 15.0  # of a request that nobody ends: its replica was killed, or Redis away
# Requests one after the other, which fit into the first key's budgets, or in turn into all.
WALKS = {"heavy": 15, "flight": 6, "ranked": 5, "chat": 12, "spare": 6}
CROWD = 15  # of one client at once
SPARE = 12  # requests of a burst beyond what the budgets allow


@dataclass(slots=True)
class Soak:
    """A run under way."""

    plan: Plan
    folder: Path
    screen: Screen
    world: World
    watch: Watch
    clients: Clients
    faults: Faults
    verdict: Verdict = field(default_factory=Verdict)
    books: dict[str, Books] = field(default_factory=dict)
    undelivered: int = 0  # replies of Redis, so far
    exceeded: int = 0  # budgets, as the provider found it when an arrival came
    judged: int = 0  # of the requests
    arrivals: list[dict[str, Any]] = field(default_factory=list)  # at the provider
    stampedes: int = 0  # that nothing disturbed
    phase: str = ""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)  # that go on for as long as it does
    first: tuple[float, int] = (0.0, 0)  # memory and descriptors of the first replica after the warm-up

    # --- calm and storm -------------------------------------------------------------------------------

    async def run(self) -> None:
        self.books = {key: Books(0, 0, 0, 0) for key in self.plan.secrets}
        trouble = asyncio.create_task(self.faults.trouble(self.plan.seed))
        self.tasks.append(trouble)
        for number, turn in enumerate(self.plan.rounds(), 1):
            await self._round(number, turn)
        trouble.cancel()
        await self.world.order(faults=CALM)
        await self._afterwards()

    async def _round(self, number: int, turn: Round) -> None:
        self._enter(f"calm {number}")
        self.clients.sending.set()
        await asyncio.sleep(turn.calm_s)
        await self._take_books()
        self._failed("processes", checks.leaked(await self._leases(), "after a calm"))
        if number <= 2:  # the first storm warms up what a calm does not touch
            self.first = self._size(self.world.serving[0])
        self._enter(f"storm {number}")
        self.clients.sending.set()
        ends = now() + turn.storm_s
        await self.faults.storm(turn.of_redis, turn.of_replicas, turn.of_operators, turn.of_provider)
        await asyncio.sleep(ends - now())
        await self._take_books()
        await self._leases_end()

    async def _leases_end(self) -> None:
        """Those that a storm left behind, by themselves."""
        left, since = await self._leases(), now()
        if left:
            self.screen.say(f"{self.phase}: nobody ended {left}")
        while left and now() - since < LEASE_S + SETTLED_S:
            await asyncio.sleep(0.5)
            left = await self._leases()
        self._failed("processes", checks.leaked(left, "a lease's length after a storm"))

    def _enter(self, phase: str) -> None:
        self.phase = phase
        self.screen.say(phase)

    async def _take_books(self) -> dict[str, Any]:
        """Ends the load, and judges all that it was since the last time. Returns the provider's report."""
        for task in self.tasks:
            if task.done() and not task.cancelled():
                task.result()
        async with asyncio.timeout(QUIET_S):
            await self.clients.quiet()
        await asyncio.sleep(SETTLED_S)
        async with asyncio.timeout(QUIET_S):
            await self.watch.caught_up(self.world.admin)
            report = await self.world.report()
        self.arrivals = report["arrivals"]
        sent, disruptions = self.clients.sent[self.judged :], self.faults.disruptions
        self.judged = len(self.clients.sent)
        books = {key: self.watch.books(key, report["counts"][text]) for key, text in self.plan.secrets.items()}
        undelivered = self.watch.undelivered(await self.world.connected())
        excused, dead = under(disruptions), outages.outages(disruptions, report["arrivals"])
        may_lose = checks.unanswered(sent, excused) + undelivered - self.undelivered
        self._tell(books, may_lose)
        broken = {"closed": checks.CLOSED, "cancelled": checks.STALLED}
        ends = {at: broken.get(arrival["ended"], ()) for at, arrival in enumerate(report["arrivals"])}
        self._failed("answers", checks.answers(sent, excused, ends, dead))
        self._failed("the models' names", checks.masked(sent))
        self._failed("a refusal spends nothing", checks.attempted(sent, report["arrivals"], excused))
        self._failed("things at their account", belonging.strayed(sent, report["arrivals"], excused))
        self._failed("a dead provider", outages.stormed(dead, disruptions))
        calm, found = stampedes.judged(sent, report["arrivals"], lambda group: not any(map(excused, group)))
        self.stampedes += calm
        self._failed("one call a stampede", found)
        self._failed("rotation", checks.balance(self.books, books, may_lose))
        self.exceeded = len(report["violations"])
        if report["open"]:
            self._failed("processes", [f"{report['open']} requests are still at the provider though no client waits"])
        self.books, self.undelivered = books, undelivered
        return report

    async def _leases(self) -> dict[str, int]:
        """How many requests count as in flight; an account is called by one of its keys."""
        found = (await self.world.leases()).items()
        return {self.watch.accounts.get(account, account): count for account, count in found}

    def _tell(self, books: dict[str, Books], may_lose: int) -> None:
        after, before = Books.total(books.values()), Books.total(self.books.values())
        granted, released, withdrawn, arrived = (now - then for now, then in zip(after, before, strict=True))
        told = f"{granted} grants: {arrived} arrived, {released} released, {withdrawn} withdrawn"
        lost = after.unsent - before.unsent
        memory, descriptors = self._size(self.world.serving[0])
        self.screen.say(f"{self.phase}: {told}, {lost} lost of at most {may_lose}")
        self.screen.say(f"{self.phase}: {self.world.serving[0].name} has {memory:.1f} MiB, {descriptors} descriptors")

    def _failed(self, promise: Promise, found: Iterable[str]) -> None:
        for text in self.verdict.take(promise, found):
            self.screen.say(f"FAILED: {text}")

    def _size(self, replica: Replica) -> tuple[float, int]:
        return replica.memory_mib(), replica.descriptors()

    # --- the end --------------------------------------------------------------------------------------

    async def _afterwards(self) -> None:
        """All budgets come back, and every process ends well."""
        self._enter("rests end")
        quiet_since = now()
        told = await self.world.status(self.folder)
        while list(checks.resting(told)) and now() - quiet_since < PROBED_S:
            await asyncio.sleep(1)
            told = await self.world.status(self.folder)
        self._failed("answers", checks.resting(told))
        self._enter("windows pass")  # also those of the tries by which dead keys revived
        await asyncio.sleep(LONG.window_s + GUARD_S + 1)
        self._failed("a refusal spends nothing", checks.spent(await self.world.status(self.folder)))
        self._enter("peace")
        self._measured()
        await self._in_peace()
        report = await self._take_books()
        dated = checks.dated(self.clients.sent, report["arrivals"], self.faults.disruptions)
        self._failed("budgets of accounts", checks.excess(report["excess"], dated, self._names))
        self._failed("budgets of accounts", checks.total_excess(report["arrivals"], dated, self._names))
        self._failed("limits of clients", callers.over_limits(report["arrivals"], dated))
        self._failed("budgets of accounts", checks.midnight(report["arrivals"], self._names, self.world.midnight))
        if self.faults.reloads:
            self._failed("rotation", checks.reloaded(self.watch.grants))
        arrived = [self._names.get(arrival["key"], "no key of ours") for arrival in report["arrivals"]]
        models = [arrival["model"] for arrival in report["arrivals"]]
        self._failed("rotation", checks.numbers(self.clients.sent, self.watch.grants, arrived, models))
        deaths = sum(one.kind == "dead" for one in self.faults.disruptions)
        self._failed("a dead provider", outages.repeated(self.clients.sent, report["arrivals"], deaths))
        self._failed("rotation", checks.totals(await self.world.status(self.folder), self.watch.grants))
        self._failed("rotation", self.watch.gaps)
        self._failed("secrets", self.watch.leaks + self.clients.leaks)
        self._failed("processes", self.faults.failures)
        await self._ended()
        await self._logs()

    async def _in_peace(self) -> None:
        """Whatever was, the turns are those of the strategies and tokens are counted as the provider counts them."""
        for pool, count in WALKS.items():
            begin = len((await self.world.report())["arrivals"])
            sent = await self.clients.walk(f"{pool}/{POOLS[pool].model}", count)
            await asyncio.sleep(SETTLED_S)
            report, told = await self.world.report(), await self.world.status(self.folder)
            self._failed("rotation", checks.turns(pool, sent))
            self._failed("budgets of accounts", checks.settled(pool, told, report["arrivals"][begin:]))
        crowds = []
        for _ in range(2):
            await asyncio.sleep(SHORT.window_s + GUARD_S)
            crowds.append(await self.clients.crowd("meek", "roomy/gpt-4o", CROWD))
        self._failed("limits of clients", callers.bursts(crowds, CROWD))
        for pool in ("chat", "spare"):  # whose keys were all tried since they rested: until then one is worth one grant
            model, count = f"{pool}/{POOLS[pool].model}", full(pool) + SPARE
            batch = await self.clients.burst(model, count, "batch")
            self._failed("budgets of accounts", checks.bursts(pool, batch, await self.clients.burst(model, count)))

    def _measured(self) -> None:
        """The replica that lived through it all has not grown."""
        first = self.world.serving[0]
        memory, descriptors = self._size(first)
        grew = f"{self.first[0]:.1f} to {memory:.1f} MiB, {self.first[1]} to {descriptors} descriptors"
        self.screen.say(f"{first.name}, from the warm-up to the end: {grew}")
        self._failed("processes", checks.grown(first.name, "MiB", self.first[0], memory, MEMORY_SLACK_MIB))
        self._failed(
            "processes", checks.grown(first.name, "descriptors", self.first[1], descriptors, DESCRIPTORS_SLACK)
        )

    async def _ended(self) -> None:
        """Nothing is left in the replicas that still run, and all end when they are asked to."""
        for replica in self.world.serving:
            if "\nsidecar_inflight_requests 0.0\n" not in await self.world.page(replica, "/metrics"):
                self._failed("processes", [f"{replica.name} says that requests are in flight"])
            await self.world.end(replica)
            if replica.exit_code:
                self._failed("processes", [f"{replica.name} exits {replica.exit_code} at the end"])

    async def _logs(self) -> None:
        seen = {f"log of {replica.name}": replica.log() for replica in self.world.ever}
        seen["redis"] = await dump(self.world.store.url)
        self._failed(
            "secrets", [f"a secret in the {place}, after {before!r}" for place, before in leaks(self._secrets, seen)]
        )
        for replica in self.world.ever:
            self._failed("processes", checks.log_lines(replica.name, replica.log()))

    @property
    def _names(self) -> dict[str, str]:
        """Each secret's key."""
        return {secret: key for key, secret in self.plan.secrets.items()}

    @property
    def _secrets(self) -> list[str]:
        return [*self.plan.secrets.values(), *self.plan.tokens.values()]

    # --- told -----------------------------------------------------------------------------------------

    def table(self) -> str:
        """What was seen of each promise, and whether it held."""
        grants = sum(map(len, self.watch.grants.values()))
        deaths = sum(one.kind == "dead" for one in self.faults.disruptions)
        replicas = len(self.world.ever)
        return self.verdict.table(seen(self.clients.sent, self.arrivals, grants, self.stampedes, deaths, replicas))

    def summary(self) -> str:
        ends: Counter[str] = Counter(str(one.end) for one in self.clients.sent if one.end)
        grants = sum(map(len, self.watch.grants.values()))
        told = f"{self.exceeded} refused as over budget, {len(self.clients.sent)} requests ({counted(ends)})"
        return f"{told}, {grants} grants, {len(self.faults.disruptions)} faults, {len(self.world.ever)} replicas"

    def _told(self, arrival: dict[str, Any]) -> dict[str, Any]:
        """At the soak's moment, and without its secret."""
        return arrival | {"at_s": round(moment(arrival["at_ns"]), 3), "key": self._names.get(arrival["key"], "")}

    def keep(self, folder: Path) -> None:
        """What tells of a failure: the time line, every request and arrival, and what every replica logged."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "timeline.txt").write_text("\n".join(self.screen.events) + "\n")
        (folder / "arrivals.jsonl").write_text("".join(f"{json.dumps(self._told(one))}\n" for one in self.arrivals))
        (folder / "requests.txt").write_text("".join(f"{one}\n" for one in self.clients.sent))
        for replica in self.world.ever:
            (folder / f"{replica.name}.log").write_text(replica.log())


@asynccontextmanager
async def prepared(plan: Plan, folder: Path, screen: Screen) -> AsyncIterator[Soak]:
    """A soak with everything started and clients that wait for their word."""
    async with (
        world(plan, folder) as built,
        watching(built.admin, [*plan.secrets.values(), *plan.tokens.values()]) as watch,
    ):
        clients = Clients(built.serving, plan.seed, [*plan.secrets.values(), *plan.tokens.values()], plan.tokens)
        soak = Soak(plan, folder, screen, built, watch, clients, Faults(built, watch, screen.say))
        running = (clients.run(), scenes.run(clients, plan.seed), _summaries(soak))
        soak.tasks += [asyncio.create_task(one) for one in running]
        try:
            yield soak
        finally:
            for task in soak.tasks:
                task.cancel()
            await asyncio.gather(*soak.tasks, return_exceptions=True)


async def _summaries(soak: Soak) -> None:
    while True:
        await asyncio.sleep(soak.screen.every_s)
        soak.screen.sum_up(f"{soak.phase}, {len(soak.clients.open)} under way: {soak.summary()}")
