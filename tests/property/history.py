"""A history: steps played on the model, with what each script must have answered, and judged by a third party.

Steps are numbers, so that hypothesis makes and shrinks them quickly; `describe` says them in words. The model is
played first and tells every argument, so that the scripts get the whole history in one pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sidecar.model import bearing, reports, room, rules
from sidecar.model.bearing import Window
from sidecar.model.configured import Key, Secret
from sidecar.model.rests import DEAD, DEAD_PROBE_US, LONG_US, NEVER
from sidecar.model.words import (
    ONE,
    Ask,
    Confirmed,
    Exhausted,
    Grant,
    Refusal,
    Report,
    Rotation,
    Subject,
    Withdrawn,
)
from sidecar.store import calls, upkeep
from sidecar.store.names import Names, rest_field
from tests.property.draws import AMOUNTS, BACKS, DELAYS, JUMPS, LEAPS, SHARES, STEPS, WAITS, failed, told_rests
from tests.property.judge import Judge
from tests.property.worlds import CLIENTS, MODELS, SECOND, WORLDS, World, alone

# Twenty seconds before a day of 25 hours and a month begin in New York.
START = 1_793_505_580_000_000
NAMES = Names("history")


@dataclass
class Play:
    """One history in the making."""

    world: World = WORLDS[0]
    raw: int = START
    state: rules.State = field(default_factory=rules.State)
    judge: Judge = field(default_factory=Judge)
    # The last of each: whether it may be on its way, and the judge counts it; a reservation once it is confirmed.
    open: list[tuple[World, Grant, bool]] = field(default_factory=list)
    changed: bool = False  # whether there was ever another world
    half_woken: bool = False  # whether a settle looked by the limits of one of several for what it may wake
    waiting: list[tuple[World, Ask]] = field(default_factory=list)  # told to stand in line, with their tickets
    script: list[tuple[calls.Call, Callable[[Any], Any], Any]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    @property
    def now(self) -> int:
        return rules.now_of(self.state, self.raw)[0]

    def step(self, number: int) -> None:
        """Plays the step that a number below 2**32 stands for."""
        kind, rest = number % 32, number // 32
        if kind < 5:  # the number 0 does nothing, so that shrinking ends there
            self.pass_time(STEPS[rest % len(STEPS)])
        elif kind < 16:
            self.acquire(rest)
        elif kind < 18:
            self.pass_time(LEAPS[rest % len(LEAPS)])
        else:
            self._rarely(kind, rest)

    def _rarely(self, kind: int, rest: int) -> None:
        match kind:
            case 18:
                self.pass_time(JUMPS[rest % len(JUMPS)])
            case 19:
                self.pass_time(-BACKS[rest % len(BACKS)])
            case 20 | 21:
                self.release(rest)
            case 22 | 23:
                (self.confirm, self.confirm, self.confirm, self.advance)[rest % 4](rest // 4)
            case 24 | 25:
                self.settle(rest)
            case 26:
                self.renew(rest)
            case 27 | 28 | 29:
                self.report(rest)
            case 30:
                (self.succeed, self.manage)[rest % 2](rest // 2)
            case _:
                self.world, self.changed = WORLDS[rest % len(WORLDS)], True
                self.words.append(f"world {rest % len(WORLDS)}")

    def pass_time(self, microseconds: int) -> None:
        self.raw += microseconds
        if microseconds:
            self.words.append(f"time {microseconds:+}")

    def _expect(self, call: calls.Call, read: Callable[[Any], Any], answer: Any) -> None:
        self.script.append((call, read, answer))

    def acquire(self, choice: int) -> None:
        choice, pools = divmod(choice, 4)
        choice, model = divmod(choice, len(MODELS))
        choice, wait = divmod(choice, len(WAITS))
        choice, wait_2 = divmod(choice, len(WAITS))
        choice, amounts = divmod(choice, len(AMOUNTS))
        choice, share = divmod(choice, len(SHARES))
        targets = (("p",), ("p", "q"), ("q", "p"), ("p", "p"))[pools]
        client = CLIENTS[(choice >> 12) % len(CLIENTS)]
        client = client.again if (choice >> 9) % 8 == 2 else client
        rotations = tuple(
            self.world.rotation(pool, MODELS[(model + index) % len(MODELS)], client)
            for index, pool in enumerate(targets)
        )
        if probing := choice % 16 == 2:
            rotations = (alone(rotations[0], choice // 16),)
        keys = [(target, member.id) for target, rotation in enumerate(rotations) for member in rotation.members]
        tried = frozenset(keys[bit] for bit in range(len(keys)) if choice % 4 == 1 and choice >> (bit + 4) & 1)
        ask = Ask(
            rotations,
            (WAITS[wait], WAITS[wait_2])[: len(rotations)],
            tried,
            AMOUNTS[amounts],
            (SHARES[share],) * len(rotations),
            probing,
            waited_us=WAITS[choice // 4 % len(WAITS)],
        )
        world = self.world
        if choice % 4 == 3 and self.waiting:
            world, again = self.waiting.pop(choice // 4 % len(self.waiting))
            ask = again if choice // 4 % 5 else replace(again, max_wait_us=(0,) * len(again.rotations))
        self._acquire(world, ask)

    def _acquire(self, world: World, ask: Ask) -> None:
        answer = self._ask(ask)
        told = f"{ask.max_wait_us} {ask.amounts[1]} {ask.shares[0]} {'probing' if ask.probing else ''}"
        of = ask.rotations[0].client.account
        of += " ".join(f" {rotation.pool}/{rotation.model}" for rotation in ask.rotations)
        line = f"waited {ask.waited_us} ticket {ask.ticket - START if ask.ticket else ''}"
        self.words.append(f"acquire {of} {told} tried={sorted(ask.tried)} {line} -> {tell(answer)}")
        self._is_right(ask, answer)
        if isinstance(answer, Refusal) and answer.busy and any(ask.max_wait_us):
            self.waiting.append((world, replace(ask, ticket=answer.ticket)))
        if isinstance(answer, Grant):
            if not answer.wait_us:
                self._sent(answer)
            self.open.append((world, answer, not answer.wait_us))

    def _sent(self, grant: Grant) -> None:
        self.judge.granted(windows(grant), grant.moment_us, grant.amounts, self.now)

    def _ask(self, ask: Ask) -> Grant | Refusal | Exhausted:
        call = calls.acquire(NAMES, ask, self.now, str(self.raw))
        while True:
            try:
                answer = rules.acquire(self.state, ask, self.raw)
            except rules.Unregistered as missing:
                target = int(missing.args[0])
                self._expect(call, lambda reply: calls.read_acquire(ask, reply), calls.Missing(target))
                self._register(ask.rotations[target])
                continue
            self._expect(call, lambda reply: calls.read_acquire(ask, reply), answer)
            return answer

    def _register(self, rotation: Rotation) -> None:
        rules.register(self.state, rotation, self.raw)
        call = upkeep.register(NAMES, rotation, str(self.raw))
        self._expect(call, lambda reply: upkeep.read_register(reply)[0], True)

    def _is_right(self, ask: Ask, answer: Grant | Refusal | Exhausted) -> None:
        """What a plain look at every key says of this answer, without any rotation."""
        now, shared = self.now, self.state.shared
        if isinstance(answer, Grant):
            assert (answer.target, answer.member.id) not in ask.tried
            if answer.finds < 2:
                until = room.rests_until(shared, answer.rotation, answer.member)
                assert until <= answer.moment_us, "granted within a rest"
            for rest in room.rests_of(shared, answer.rotation, answer.member):
                least = DEAD_PROBE_US if rest.kind == DEAD and ask.probing else LONG_US
                assert answer.moment_us >= min(rest.ends, rest.since + least), "probed too early"
            return
        free = {
            (target, member.id): self._free(ask, target, member) - now
            for target, rotation in enumerate(ask.rotations)
            for member in rotation.members
            if (target, member.id) not in ask.tried
        }
        free = {key: wait for key, wait in free.items() if wait + now < NEVER}
        if isinstance(answer, Exhausted):
            assert not free
            return
        if self.half_woken:
            assert answer.wait_us >= min(free.values()), "there is no such room"
            return
        assert answer.wait_us == min(free.values()), "not the earliest room"
        if not answer.busy:  # else a request in flight may end sooner than its lease
            assert all(wait > ask.max_wait_us[target] for (target, _), wait in free.items()), "could have waited"

    def _free(self, ask: Ask, target: int, member: Any) -> int:
        rotation, shared, now = ask.rotations[target], self.state.shared, self.now
        asked = room.Asked(ask.amounts, ask.shares[target], ask.probing)
        own, _ = room.free_for_any(shared, rotation, member, now, ask.probing)
        own, _ = room.free_for(shared, rotation, member, own, asked, now)
        crowded = room.crowded_until(shared, rotation, now)
        return max(room.free_in_pool(shared, rotation, member, own, asked, now), crowded)

    def _take(self, choice: int) -> tuple[World, Grant, bool] | None:
        """One of the open grants, with the config that its request began with and keeps."""
        return self.open.pop(choice % len(self.open)) if self.open else None

    def release(self, choice: int) -> None:
        taken = self._take(choice)
        if taken is None:
            return
        world, grant, counted = taken
        clock = self.now
        held = rules.release(self.state, grant, self.raw)
        call = calls.release(NAMES, grant, world.pools_of(grant.member.account), clock, str(self.raw))
        self._expect(call, int, held)
        if counted:
            self.judge.given_back(windows(grant), grant.moment_us, grant.amounts)
        self.words.append(f"release {tell(grant)} -> {held}")

    def confirm(self, choice: int) -> None:
        taken = self._take(choice)
        if taken is None:
            return
        world, grant, counted = taken
        clock = self.now
        answer = rules.confirm(self.state, grant, self.raw)
        call = calls.confirm(NAMES, grant, world.pools_of(grant.member.account), clock, str(self.raw))
        self._expect(call, calls.read_confirm, answer)
        self.words.append(f"confirm {tell(grant)} -> {answer}")
        if counted:
            self.judge.given_back(windows(grant), grant.moment_us, grant.amounts)
        if isinstance(answer, Withdrawn):
            return
        grant = grant.dated(answer)
        if isinstance(answer, Confirmed):
            self._sent(grant)
            for rest in room.rests_of(self.state.shared, grant.rotation, grant.member):
                is_probe = grant.moment_us in rest.grants and grant.moment_us > rest.since
                assert rest.ends <= self.now or is_probe, "sent within a rest"
        self.open.append((world, grant, isinstance(answer, Confirmed)))

    def advance(self, choice: int) -> None:
        """Who waits for a reservation asks for an earlier moment."""
        reserved = [at for at, (_, _, sent) in enumerate(self.open) if not sent]
        if not reserved:
            return
        world, grant, _ = self.open.pop(reserved[choice % len(reserved)])
        clock = self.now
        for only_tells in (True, False):
            answer = rules.advance(self.state, grant, self.raw, only_tells)
            pools = world.pools_of(grant.member.account)
            call = calls.advance(NAMES, grant, pools, clock, str(self.raw), only_tells)
            self._expect(call, calls.read_confirm, answer)
        self.words.append(f"advance {tell(grant)} -> {answer}")
        assert answer.moment_us <= grant.moment_us
        self.open.append((world, grant.dated(answer), False))

    def settle(self, choice: int) -> None:
        """The request of a grant that was sent is over.

        One that began under another config looks for what it may wake by its own limits: keys that are parked for
        others are found out when their moment comes.
        """
        choice, amounts = divmod(choice, len(AMOUNTS))
        taken = self._take(choice)
        if taken is None or not taken[2] or taken[0] is not self.world:
            self.open += [taken] if taken else []
            return
        world, grant, _ = taken
        self.half_woken |= self.changed
        actual, clock = AMOUNTS[amounts], self.now
        charged = ONE if choice % 4 == 3 else actual  # it is sent again: its client is charged for the last attempt
        woken = rules.settle(self.state, grant, actual, charged, self.raw)
        call = calls.settle(NAMES, grant, actual, charged, world.pools_of(grant.member.account), clock, str(self.raw))
        self._expect(call, bool, woken)
        self.judge.settled(bearing.common(grant.rotation, grant.member), grant.moment_us, grant.amounts, actual)
        self.judge.settled(bearing.client(grant.rotation), grant.moment_us, grant.amounts, charged)
        self.words.append(f"settle {tell(grant)} as {actual}, charged {charged[1]} -> {woken}")

    def renew(self, choice: int) -> None:
        """A replica says of a request that it runs."""
        running = [grant for _, grant, sent in self.open if sent]
        if not running:
            return
        grant = running[choice % len(running)]
        leased = [window for window in windows(grant) if window[1].kind == "leases"]
        self._expect(calls.renew(NAMES, [grant], {}, str(self.raw)), int, len(leased))
        for account, limit in leased:
            rules.renewed(self.state, account, limit, grant.moment_us, self.raw)
            self.judge.renewed(account, limit, grant.moment_us, self.now)
            self.words.append(f"renew {tell(grant)}")

    def report(self, choice: int) -> None:
        choice, request = divmod(choice, 3)
        choice, what = divmod(choice, 7)
        choice, model = divmod(choice, len(MODELS) + 1)
        choice, delay = divmod(choice, len(DELAYS))
        choice, key = divmod(choice, 4)
        choice, ago = divmod(choice, 3)
        member = self.world.rotation("p", MODELS[0]).members[key]
        whole = None if model == len(MODELS) else MODELS[model]
        rests = told_rests(member, whole, DELAYS[delay], throttle="p" if request else "")
        of_key = Subject(member.account, member.key, whole)
        clears = () if what in rests else (of_key,)
        moment = self.now - (0, SECOND, 20 * SECOND)[ago]
        told = (rests[what],) if what in rests else ()
        if choice % 15 in {5, 8, 11, 13}:  # of its provider, for one model
            self._report(
                Report(f"r{request}", failed=failed(choice // 15, MODELS[model % len(MODELS)]), moment_us=moment), ""
            )
            return
        self._report(Report(f"r{request}", told, clears, moment_us=moment), member.account)

    def succeed(self, choice: int) -> None:
        """A request of an open grant succeeded."""
        if not self.open:
            return
        _, grant, _ = self.open[choice % len(self.open)]
        ends = bearing.subjects(grant.member, grant.rotation.model)
        if choice % 5 == 4:  # its client went away
            self._report(Report("r0", left=works_of(grant), moment_us=grant.moment_us), "")
            return
        pool = grant.rotation.pool if choice % 2 else ""
        works = works_of(grant) if choice % 2 else None
        self._report(Report("r0", ends=ends, pool=pool, works=works, moment_us=grant.moment_us), grant.member.account)

    def manage(self, choice: int) -> None:
        """An operator disables, enables or resets a key; resets leave windows alone, of which the judge knows more."""
        choice, what = divmod(choice, 3)
        choice, model = divmod(choice, len(MODELS))
        member = self.world.rotation("p", MODELS[0]).members[choice % 4]
        key = Key(member.id, Secret("none"), member.key, member.account)
        pools = list(WORLDS[0].pools)
        subjects = bearing.subjects(member, MODELS[model])
        if what == 0:
            answer = int(reports.disable(self.state, member.key, self.raw))
            call = upkeep.disable(NAMES, key, "somebody", str(self.raw))
        elif what == 1:
            answer = int(reports.enable(self.state, member.key, member.account, self.raw))
            call = upkeep.enable(NAMES, key, pools, str(self.raw))
        else:
            answer = reports.reset(self.state, subjects, (), member.account, self.raw)
            call = upkeep.reset(NAMES, key, [rest_field(subject) for subject in subjects], pools, str(self.raw))
        self._expect(call, int, answer)
        self.words.append(f"{('disable', 'enable', 'reset')[what]} {member.id} -> {answer}")

    def _report(self, report: Report, account: str) -> None:
        answer = reports.report(self.state, report, self.raw)
        pools = list(WORLDS[0].pools)  # of throttled rests other accounts too
        call = calls.report(NAMES, report, pools, str(self.raw))
        self._expect(call, calls.read_report, answer)
        self.words.append(f"report {report} of {account} -> {answer}")


def works_of(grant: Grant) -> Subject:
    """The provider that it was granted for."""
    return bearing.resting_provider(grant.rotation.way, grant.rotation.model)


def windows(grant: Grant) -> list[Window]:
    return bearing.all_windows(grant.rotation, grant.member)


def tell(answer: Grant | Refusal | Exhausted) -> str:
    if isinstance(answer, Grant):
        finds = f" finds {answer.finds}" if answer.finds else ""
        return f"{answer.target}:{answer.member.id} #{answer.number} at +{answer.moment_us - START}{finds}"
    return repr(answer)


def play(steps: Sequence[int]) -> Play:
    """Plays the steps on the model; the judge has agreed to every one of them. The first chooses the world."""
    history = Play(world=WORLDS[steps[0] % len(WORLDS)] if steps else WORLDS[0])
    history.words.append(f"world {WORLDS.index(history.world)}")
    for number in steps[1:]:
        history.step(number)
    return history


def describe(steps: Sequence[int]) -> str:
    """The steps in words, for a counter-example."""
    return "\n".join(play(steps).words)
