"""What goes wrong, done: Redis freezes or loses its connections, replicas die, drain and stop, the provider fails.

And what operators do meanwhile: keys are disabled for a while, replicas are told another config and the first again.
"""

from __future__ import annotations

import asyncio
import math
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.soak.plan import Kind, Step
from tests.soak.pools import DEADLY, MAX_WAIT_S, SOMETIMES, STALLING, TROUBLED
from tests.soak.traffic import Sent
from tests.soak.watch import Watch
from tests.soak.world import Replica, World, now

NOTICED_S = 0.5  # between a replica's leaving the list that clients choose from and its SIGTERM
AFTER_S = 6.0  # a call's deadline and the longest pause of a reconnect, and some
TROUBLE_EVERY_S = 0.8
LINGERING = {"model": "long-*", "chunk_s": 0.72}  # longer than a lease, so that it must be renewed
THINKING = {"headers_s": 0.03, "chunk_s": 0.04}  # what befalls every request that nothing worse befalls
CALM = (LINGERING, THINKING)


@dataclass(eq=False, slots=True)
class Disruption:
    """A fault of Redis or of a provider (`replica` None), or of one replica, from its beginning until it was over."""

    kind: Kind
    replica: Replica | None
    began: float
    ended: float = math.inf

    def concerns(self, sent: Sent) -> bool:
        """Whether this request was under way while it lasted, or while the sidecar recovered from it. What a dead
        provider excuses hangs on how often it was asked."""
        here = self.replica is None or self.replica is sent.replica
        return here and self.kind != "dead" and sent.began <= self.ended + AFTER_S and sent.ended >= self.began


Excused = Callable[[Sent], Sequence[Disruption]]


def under(disruptions: Sequence[Disruption]) -> Excused:
    """A function that tells which faults concerned a request."""
    return lambda sent: [disruption for disruption in disruptions if disruption.concerns(sent)]


@dataclass(slots=True)
class Faults:
    """Carries out the plan and writes down what it did. `failures` are those of replicas that come or go badly."""

    world: World
    watch: Watch
    say: Callable[[str], None]
    disruptions: list[Disruption] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    reloads: int = 0
    dying: list[dict[str, Any]] = field(default_factory=list)  # what is wrong with the provider that is dead now

    async def storm(self, *sequences: Sequence[Step]) -> None:
        """Each sequence at its moments, side by side; returns when all are over and everything runs again."""
        began = now()
        await asyncio.gather(*(self._sequence(steps, began) for steps in sequences))

    async def _sequence(self, steps: Sequence[Step], began: float) -> None:
        for step in steps:
            await asyncio.sleep(began + step.at_s - now())
            await self._do(step)

    async def _do(self, step: Step) -> None:
        does: dict[Kind, Callable[[Step], Awaitable[None]]] = {
            "freeze": self._freeze,
            "kill clients": self._kill_clients,
            "cut": self._cut,
            "cut a reply": self._cut_a_reply,
            "restart": self._restart,
            "kill": self._kill,
            "drain": self._drain,
            "stop": self._stop,
            "disable": self._disable,
            "reload": self._reload,
            "dead": self._dead,
        }
        await does[step.kind](step)

    def _begin(self, step: Step, text: str, replica: Replica | None = None) -> Disruption:
        disruption = Disruption(step.kind, replica, now())
        self.disruptions.append(disruption)
        self.say(text)
        return disruption

    # --- Redis ----------------------------------------------------------------------------------------

    async def _freeze(self, step: Step) -> None:
        disruption = self._begin(step, f"Redis is frozen for {step.seconds:g} s")
        self.world.store.freeze()
        try:
            await asyncio.sleep(step.seconds)
        finally:
            self.world.store.thaw()
            disruption.ended = now()
        self.say("Redis goes on")

    async def _kill_clients(self, step: Step) -> None:
        """All connections of sidecars, or those of one that is chosen."""
        disruption = self._begin(step, "CLIENT KILL " + ("of all sidecars" if step.choice % 2 else "of one connection"))
        found: list[dict[str, Any]] = await self.world.admin.client_list()
        clients = [client["id"] for client in found if client["name"] == "sidecar"]
        for client in clients if step.choice % 2 else clients[step.choice % max(1, len(clients)) :][:1]:
            await self.world.admin.client_kill_filter(_id=client)
        disruption.ended = now()

    async def _cut(self, step: Step) -> None:
        disruption = self._begin(step, "every connection to Redis is cut")
        self.world.wire.cut_now()
        disruption.ended = now()

    async def _cut_a_reply(self, step: Step) -> None:
        """The script has run, and its caller does not learn what came of it."""
        after = step.choice % 60
        disruption = self._begin(step, f"Redis's next reply is cut after {after} bytes")
        self.world.wire.cut_next_reply_after(after)
        await asyncio.sleep(1.0)  # some request asks meanwhile
        disruption.ended = now()

    async def _restart(self, step: Step) -> None:
        disruption = self._begin(step, "Redis is killed and started again, with its file")
        await self.world.restart_store(self.watch)
        disruption.ended = now()
        self.say("Redis has started")

    # --- replicas -------------------------------------------------------------------------------------

    def _victim(self, step: Step) -> Replica:
        """Any but the first, which lives through the whole run."""
        others = self.world.serving[1:]
        return others[step.choice % len(others)]

    async def _kill(self, step: Step) -> None:
        victim = self._victim(step)
        self.world.serving.remove(victim)
        disruption = self._begin(step, f"kill -9 of {victim.name}", victim)
        await victim.sidecar.kill()
        disruption.ended = now()
        await self._newcomer()

    async def _drain(self, step: Step) -> None:
        """What it has begun it must end; nothing of that is excused by this."""
        victim = self._victim(step)
        self.world.serving.remove(victim)
        newcomer = asyncio.create_task(self._newcomer())
        await asyncio.sleep(NOTICED_S)
        self.say(f"SIGTERM of {victim.name}")
        try:
            await self.world.end(victim)
        except TimeoutError:
            self.failures.append(f"{victim.name} does not end after SIGTERM")
        else:
            self.say(f"{victim.name} has ended, exit {victim.exit_code}")
            if victim.exit_code:
                self.failures.append(f"{victim.name} exits {victim.exit_code} after SIGTERM")
        await newcomer

    async def _newcomer(self) -> None:
        replica = await self.world.start()
        self.say(f"{replica.name} is ready")

    async def _stop(self, step: Step) -> None:
        """Also of the first one."""
        victim = self.world.serving[step.choice % len(self.world.serving)]
        disruption = self._begin(step, f"SIGSTOP of {victim.name} for {step.seconds:g} s", victim)
        victim.sidecar.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(step.seconds)
        finally:
            victim.sidecar.signal(signal.SIGCONT)
            disruption.ended = now()

    # --- operators ------------------------------------------------------------------------------------

    async def _disable(self, step: Step) -> None:
        """A key that both configs have. Of this no client may notice anything."""
        keys = [key for key in TROUBLED if key != SOMETIMES]
        key = keys[step.choice % len(keys)]
        self.say(f"{key} is disabled for {step.seconds:g} s")
        await self._manage("disable", key)
        await asyncio.sleep(step.seconds)
        await self._manage("enable", key)
        self.say(f"{key} is enabled")

    async def _manage(self, deed: str, key: str) -> None:
        try:
            await self.world.manage(deed, key)
        except TimeoutError:
            self.failures.append(f"no replica would {deed} {key}")

    async def _reload(self, step: Step) -> None:
        self.say(f"SIGHUP of all replicas, another config for {step.seconds:g} s")
        self.reloads += 1
        self.world.reload(other=True)
        await asyncio.sleep(step.seconds)
        self.world.reload(other=False)
        self.say("SIGHUP of all replicas, the first config")

    # --- the provider ---------------------------------------------------------------------------------

    async def _dead(self, step: Step) -> None:
        """All of it that is called by the other host; also its connections, every second time."""
        disruption = self._begin(step, f"a provider is dead for {step.seconds:g} s")
        self.dying = [{"model": "frail-*"} | ({"close": "before"} if step.choice % 2 else {"status": 503})]
        await self.world.order(faults=[*self.dying, *CALM])
        await asyncio.sleep(step.seconds)
        self.dying = []
        await self.world.order(faults=list(CALM))
        disruption.ended = now()
        self.say("the provider lives again")

    async def trouble(self, seed: int) -> None:
        """Until it is cancelled: now and then one key is refused, or one request fails, which no client may notice.

        Two failures at a time at most, or a client would rightly see one: a request gives up after five.
        """
        draw = random.Random(f"trouble {seed}")
        secrets = self.world.plan.secrets
        while True:
            await asyncio.sleep(draw.uniform(0.5, 1.5) * TROUBLE_EVERY_S)
            await self.world.order(faults=[_fault(draw, secrets), *self.dying, *CALM])


def _fault(draw: random.Random, secrets: Any) -> dict[str, Any]:
    key = {"key": secrets[draw.choice(TROUBLED)], "times": 1}
    deadly = {"key": secrets[draw.choice(DEADLY)], "times": 1}
    stalling = {"key": secrets[draw.choice(STALLING)], "times": 1}
    leaky = {"error": {"message": "Incorrect API key provided: {secret}", "code": "invalid_api_key"}}
    faults: tuple[dict[str, Any], ...] = (
        key | {"status": 429, "headers": {"retry-after": str(draw.choice((0, 1, 3)))}},
        key | {"status": 429},
        key | {"status": 500, "times": 2},
        key | {"status": 503},
        key | {"status": 503, "at": "first"},
        deadly | {"status": 401, "body": leaky},
        deadly | {"dead": True},
        key | {"close": "before"},
        stalling | {"hold": True},
        stalling | {"hang": True},
        key | {"close": "middle"},
        key | {"headers_s": MAX_WAIT_S / 2, "times": 4},
    )
    return draw.choice(faults)
