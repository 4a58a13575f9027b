"""A history: steps played on the model, with what each script must have answered, and judged by a third party.

Steps are numbers, so that hypothesis makes and shrinks them quickly; `describe` says them in words. The model is
played first and tells every argument, so that the scripts get the whole history in one pipeline.
"""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sidecar.model import rules, windows
from sidecar.model.configured import Limit
from sidecar.model.words import Ask, Confirmed, Exhausted, Grant, Refusal, Report, Rest, Rotation, Subject, Withdrawn
from sidecar.store import calls
from sidecar.store.names import Names
from tests.property.worlds import GUARD, MODELS, SECOND, WORLDS, World

START = 1_790_000_000_000_000
NAMES = Names("history")

STEPS = (0, 1, 999, GUARD, GUARD + 1, SECOND, 2 * SECOND, 2 * SECOND + GUARD - 1, 2 * SECOND + GUARD)
LEAPS = (10 * SECOND, 10 * SECOND + 200_000 - 1, 10 * SECOND + 200_000, 60 * SECOND, 61 * SECOND, 7 * SECOND)
BACKS = (1, GUARD, SECOND, 30 * SECOND, 3600 * SECOND)
WAITS = (0, SECOND, 3 * SECOND, 11 * SECOND, 100 * SECOND)
DELAYS = (1, SECOND, 2 * SECOND, 10 * SECOND, 30 * SECOND, 100 * SECOND)


class Judge:
    """Knows only what may be on its way, and counts windows by itself."""

    def __init__(self) -> None:
        self.sent: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(
            list
        )  # (moment, the maximum it was under)

    def granted(self, account: str, limits: Sequence[Limit], moment: int) -> None:
        """No window that ends with this grant, or with one behind it, holds more than the maximum of its last.

        Though arrivals are up to a guard late: the worst that it can do is to bring the first closer to the last.
        """
        for limit in limits:
            sent = self.sent[account, limit.name]
            insort(sent, (moment, limit.max))
            for last in range(sent.index((moment, limit.max)), len(sent)):
                ends, maximum = sent[last]
                if last >= maximum:
                    late = sent[last - maximum][0] + limit.guard_us
                    assert ends - late >= limit.window_us, f"{account} {limit}: {maximum + 1} within {ends - late} us"

    def given_back(self, account: str, limits: Sequence[Limit], moment: int) -> None:
        for limit in limits:
            self.sent[account, limit.name].remove((moment, limit.max))


@dataclass
class Play:
    """One history in the making."""

    world: World = WORLDS[0]
    raw: int = START
    state: rules.State = field(default_factory=rules.State)
    judge: Judge = field(default_factory=Judge)
    # The last of each: whether it may be on its way, and the judge counts it; a reservation once it is confirmed.
    open: list[tuple[World, Grant, bool]] = field(default_factory=list)
    script: list[tuple[calls.Call, Callable[[Any], Any], Any]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def step(self, number: int) -> None:
        """Plays the step that a number below 2**32 stands for."""
        kind, rest = number % 16, number // 16
        match kind:
            case 0 | 1 | 2:  # the number 0 does nothing, so that shrinking ends there
                self.pass_time(STEPS[rest % len(STEPS)])
            case 3 | 4 | 5 | 6 | 7 | 8:
                self.acquire(rest)
            case 9:
                self.pass_time(LEAPS[rest % len(LEAPS)])
            case 10:
                self.pass_time(-BACKS[rest % len(BACKS)])
            case 11:
                self.release(rest)
            case 12:
                self.confirm(rest)
            case 13 | 14:
                self.report(rest)
            case _:
                self.world = WORLDS[rest % len(WORLDS)]
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
        targets = (("p",), ("p", "q"), ("q", "p"), ("p", "p"))[pools]
        rotations = tuple(
            self.world.rotation(pool, MODELS[(model + index) % len(MODELS)]) for index, pool in enumerate(targets)
        )
        keys = [(target, member.id) for target, rotation in enumerate(rotations) for member in rotation.members]
        tried = frozenset(keys[bit] for bit in range(len(keys)) if choice % 4 == 0 and choice >> (bit + 2) & 1)
        ask = Ask(rotations, (WAITS[wait], WAITS[wait_2])[: len(rotations)], tried)
        answer = self._ask(ask)
        self.words.append(
            f"acquire {targets} {MODELS[model]} {ask.max_wait_us} tried={sorted(tried)} -> {tell(answer)}"
        )
        self._is_right(ask, answer)
        if isinstance(answer, Grant):
            if not answer.wait_us:
                self.judge.granted(answer.member.account, answer.limits, answer.moment_us)
            self.open.append((self.world, answer, not answer.wait_us))

    def _ask(self, ask: Ask) -> Grant | Refusal | Exhausted:
        call = calls.acquire(NAMES, ask, str(self.raw))
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
        call = calls.register(NAMES, rotation, str(self.raw))
        self._expect(call, lambda reply: calls.read_register(reply)[0], True)

    def _is_right(self, ask: Ask, answer: Grant | Refusal | Exhausted) -> None:
        """What a plain look at every key says of this answer, without any rotation."""
        now, _ = rules.now_of(self.state, self.raw)
        if isinstance(answer, Grant):
            assert (answer.target, answer.member.id) not in ask.tried
            resting = [
                self.state.rests[s].until
                for s in rules.subjects(answer.member, answer.rotation.model)
                if s in self.state.rests
            ]
            assert all(until <= answer.moment_us for until in resting), "granted within a rest"
            return
        free = {
            (target, member.id): rules.free_at(self.state, rotation, member) - now
            for target, rotation in enumerate(ask.rotations)
            for member in rotation.members
            if (target, member.id) not in ask.tried
        }
        if isinstance(answer, Exhausted):
            assert not free
            return
        assert answer.wait_us == min(free.values()), "not the earliest room"
        assert all(wait > ask.max_wait_us[target] for (target, _), wait in free.items()), "could have waited"

    def _take(self, choice: int) -> tuple[World, Grant, bool] | None:
        """One of the open grants, with the config that its request began with and keeps."""
        return self.open.pop(choice % len(self.open)) if self.open else None

    def release(self, choice: int) -> None:
        taken = self._take(choice)
        if taken is None:
            return
        world, grant, counted = taken
        held = rules.release(self.state, grant, self.raw)
        call = calls.release(NAMES, grant, world.pools_of(grant.member.account), str(self.raw))
        self._expect(call, int, held)
        if counted:
            self.judge.given_back(grant.member.account, grant.limits, grant.moment_us)
        self.words.append(f"release {tell(grant)} -> {held}")

    def confirm(self, choice: int) -> None:
        taken = self._take(choice)
        if taken is None:
            return
        world, grant, counted = taken
        answer = rules.confirm(self.state, grant, self.raw)
        account = grant.member.account
        call = calls.confirm(NAMES, grant, world.pools_of(account), str(self.raw))
        self._expect(call, calls.read_confirm, answer)
        self.words.append(f"confirm {tell(grant)} -> {answer}")
        if counted:
            self.judge.given_back(account, grant.limits, grant.moment_us)
        if isinstance(answer, Withdrawn):
            return
        grant = moved(grant, answer.moment_us)
        if isinstance(answer, Confirmed):
            self.judge.granted(account, grant.limits, grant.moment_us)
        self.open.append((world, grant, isinstance(answer, Confirmed)))

    def report(self, choice: int) -> None:
        choice, request = divmod(choice, 3)
        choice, what = divmod(choice, 4)
        choice, model = divmod(choice, len(MODELS) + 1)
        choice, delay = divmod(choice, len(DELAYS))
        choice, key = divmod(choice, 4)
        member = self.world.rotation("p", MODELS[0]).members[key]
        whole = None if model == len(MODELS) else MODELS[model]
        of_key, of_account = Subject(member.account, member.key, whole), Subject(member.account, None, whole)
        report = {
            0: Report(f"r{request}", (Rest(of_account, DELAYS[delay], "rate_limit_minute"),)),
            1: Report(f"r{request}", (Rest(of_key, DELAYS[delay], "invalid_key", proved=False),)),
            2: Report(f"r{request}", (Rest(of_key, DELAYS[delay], "invalid_key"),)),
            3: Report(f"r{request}", clears=(of_key,)),
        }[what]
        answer = rules.report(self.state, report, self.raw)
        call = calls.report(NAMES, report, self.world.pools_of(member.account), str(self.raw))
        self._expect(call, lambda reply: calls.read_report(report, reply), answer)
        self.words.append(f"report {report} -> {answer}")


def moved(grant: Grant, moment_us: int) -> Grant:
    return Grant(grant.target, grant.rotation, grant.member, grant.number, moment_us, 0)


def tell(answer: Grant | Refusal | Exhausted) -> str:
    if isinstance(answer, Grant):
        return f"{answer.target}:{answer.member.id} #{answer.number} at +{answer.moment_us - START}"
    return repr(answer)


def play(steps: Sequence[int]) -> Play:
    """Plays the steps on the model; the judge has agreed to every one of them."""
    history = Play()
    for number in steps:
        history.step(number)
    return history


def describe(steps: Sequence[int]) -> str:
    """The steps in words, for a counter-example."""
    return "\n".join(play(steps).words)


def logs(state: rules.State) -> dict[str, windows.Log]:
    """The model's windows by the names that Redis has for them."""
    return {f"w|{account}|{name}": log for (account, name), log in state.logs.items()}
