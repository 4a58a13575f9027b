"""Redis's own account of the rotations, by MONITOR: every number that was given, and every grant that was given back.

A script's line comes before those of the commands inside it, so that each can be told what it did: an acquire that
raised `seq` granted, a confirm that wrote and then woke its pools withdrew. What a name is stands in lua/README.md.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import redis.asyncio

from sidecar.store import scripts

PIPELINE_S = 0.1  # within which Redis has run all that it was sent at once

Turn = tuple[str, str, str]  # pool, digest of its members and limits, and model: which rotation


class Books(NamedTuple):
    """Of one key so far: grants, those given back unsent, those that arrived at the provider."""

    granted: int
    released: int
    withdrawn: int
    arrived: int

    @property
    def unsent(self) -> int:
        """Grants that neither arrived nor were given back. Below 0: something was sent without a grant."""
        return self.granted - self.released - self.withdrawn - self.arrived

    @classmethod
    def total(cls, books: Iterable[Books]) -> Books:
        """Of several keys together."""
        return cls(*map(sum, zip(*books, strict=True)))


class Watch:
    """What was seen so far."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self.grants: dict[Turn, list[str]] = defaultdict(list)  # the key of each number
        self.gaps: list[str] = []  # numbers left out, given twice, not by an acquire, or to a disabled key
        self.leaks: list[str] = []  # scripts and commands whose text held a secret
        self.released: Counter[str] = Counter()
        self.withdrawn: Counter[str] = Counter()
        self.listening: asyncio.Task[None] | None = None
        self._secrets = secrets
        self._names = {scripts.load(name).sha: name for name in scripts.NAMES}
        self._script, self._member, self._port = "", "", ""
        self._has_written = False
        self.accounts: dict[str, str] = {}  # what Redis calls the account of a key met so far -> the latest such key
        self._fingerprints: dict[str, str] = {}  # of the keys met so far
        self._off: set[str] = set()  # the fields that say which keys are disabled
        self._undelivered = 0
        self._latest: dict[str, list[float]] = defaultdict(list)  # by connection: its latest grants and confirms
        self._heard: dict[str, asyncio.Event] = {}

    def books(self, key: str, arrived: int) -> Books:
        granted = sum(keys.count(key) for keys in self.grants.values())
        return Books(granted, self.released[key], self.withdrawn[key], arrived)

    def undelivered(self, connected: Collection[str]) -> int:
        """How many grants and confirms were the last of a connection that is no more: their replies may be lost.

        A connection has one pipeline under way at a time, so that only its last one can be concerned.
        """
        for port in self._latest.keys() - connected:
            self._over(port)
        return self._undelivered

    def _over(self, port: str) -> None:
        self._undelivered += len(self._latest.pop(port, ()))

    def take(self, command: str, port: str, at_s: float) -> None:
        """One command, its words parted by blanks; `port` of its connection, "" inside of a script."""
        if any(secret in command for secret in self._secrets):
            self.leaks.append(f"a secret in a command of {self._script or command.partition(' ')[0]}")
        words = command.split(" ")
        if not port:
            self._inside(words, at_s)
        elif words[0] == "EVALSHA":
            self._script, self._has_written = self._names.get(words[1], "unknown"), False
            args = words[3 + int(words[2]) :]
            self._port = port
            self._latest[port] = [moment for moment in self._latest[port] if at_s - moment < PIPELINE_S]
            self._latest[port] += [at_s] * (self._script == "confirm")
            self._member = self._key(args[1]) if self._script in {"confirm", "release"} else ""
            self.released[self._member] += self._script == "release"
            if self._script == "admin" and args[1] in {"disable", "enable"}:
                (self._off.add if args[1] == "disable" else self._off.discard)(args[2])
        elif words[:2] == ["CLIENT", "SETNAME"]:
            self._over(port)  # what had this port before
        elif words[0] == "ECHO" and words[1] in self._heard:
            self._heard[words[1]].set()

    def _inside(self, words: Sequence[str], at_s: float) -> None:
        match words:
            case ["ZADD", name, _, member] if ":rotation:" in name:
                self._member = self._key(member)  # the last one before `seq` is raised is the key that is granted
            case ["HSET", name, "seq", text, *_] if ":turn:" in name and self._script != "register":
                _, _, pool, digest, model = name.split(":")[1:6]
                self._granted((pool, digest, model), int(float(text)) - 1)
                self._latest[self._port].append(at_s)
            case ["ZADD", name, *_] if ":wake:" in name and self._script == "confirm":
                self.withdrawn[self._member] += self._has_written
                self._has_written = False  # once, however many pools it wakes
            case ["HSET", name, "clock", *_] if name.endswith(":state"):
                self._has_written = True

    def _granted(self, turn: Turn, number: int) -> None:
        if number != len(self.grants[turn]) or self._script != "acquire":
            self.gaps.append(
                f"{'/'.join(turn)}: {self._script} gave number {number} after {len(self.grants[turn]) - 1}"
            )
        if f"off|{self._fingerprints[self._member]}" in self._off:
            self.gaps.append(f"{'/'.join(turn)}: grant {number} is of {self._member}, which is disabled")
        self.grants[turn].append(self._member)

    def _key(self, member: str) -> str:
        """The id, as the member of a rotation names it."""
        _, _, _, key, fingerprint, account, _ = member.split("|")
        self._fingerprints[key], self.accounts[account] = fingerprint, key
        return key

    async def caught_up(self, admin: redis.asyncio.Redis) -> None:
        """Returns once all that Redis was sent before was seen here. Raises redis-py's error where seeing has ended."""
        if self.listening is not None and self.listening.done():
            self.listening.result()
        mark = f"mark-{len(self._heard)}"
        self._heard[mark] = asyncio.Event()
        await admin.echo(mark)
        await self._heard[mark].wait()

    async def listen(self, admin: redis.asyncio.Redis, ready: asyncio.Event) -> None:
        async with admin.monitor() as monitor:
            ready.set()
            async for heard in monitor.listen():
                self.take(heard["command"], heard["client_port"], heard["time"])

    async def begin(self, admin: redis.asyncio.Redis) -> None:
        """Sees everything from here on."""
        ready = asyncio.Event()
        self.listening = asyncio.create_task(self.listen(admin, ready))
        await ready.wait()

    async def end(self) -> None:
        """Sees nothing more. What it has not seen yet is lost to it: see `caught_up`."""
        if self.listening is not None:
            self.listening.cancel()
            await asyncio.gather(self.listening, return_exceptions=True)


@asynccontextmanager
async def watching(admin: redis.asyncio.Redis, secrets: Sequence[str]) -> AsyncIterator[Watch]:
    """A Watch that sees everything from here on."""
    watch = Watch(secrets)
    try:
        await watch.begin(admin)
        yield watch
    finally:
        await watch.end()
