"""The `embedded` store: a redis-server that is the user's, runs once at most, and is ended by its last sidecar.

Two files of its folder are locked with `flock`, which the kernel takes back from whoever dies:

    server.lock   exclusive, inherited by the server itself: held exactly as long as it lives. Who gets it knows that no
                  server has this folder, and starts one with it.
    users.lock    shared, one for each sidecar. Who gets it exclusively at its end is the last, and ends the server;
                  who comes meanwhile waits.

To look at the socket or at a pid file instead is a race: a server that starts, loads or ends does not answer there, and
two on one append-only file ruin it. A sidecar that is killed leaves the server to the next one; a server that is
killed is started again by the first whose connection breaks, and has lost nothing that it had answered.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import redis
from redis.asyncio.connection import UnixDomainSocketConnection

from sidecar.store import connect, installed, memory
from sidecar.store.connect import Opener, StoreAway, StoreBroken
from sidecar.store.home import Home
from sidecar.store.installed import SOCKET, SOCKET_MOST, Installed

try:
    import fcntl
except ImportError:  # Windows, where `installed.find` finds nothing
    fcntl = None  # type: ignore[assignment]

LOOK_S = 0.005  # between two looks whether a server that starts or ends is ready or gone
LAUNCH_S = 5.0  # for the binary to become a daemon
END_S = 5.0  # for the server to write what it has and go
LOG_MOST = 1024 * 1024  # bytes of redis.log at a start; with more it begins anew
TOLD_MOST = 300  # characters of the log in a reason

ALONE = (
    "this is a container: budgets are not shared with other containers, and end with this one unless {folder} is a"
    " volume. Set `redis:` or REDIS_URL to share and keep them."
)

# What a user's shims and libraries may want. Nothing else of the environment: it may hold keys.
_ENVIRONMENT = ("PATH", "HOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_PAST_7 = "appendonlydir"  # where Redis 7 and later keep what older ones do not look for
_SAID = re.compile(r"^\d+:\w .*? # (?!WARNING|oO0|Redis version=|Configuration loaded|Server initialized)(.+)$", re.M)


def at(environ: Mapping[str, str]) -> tuple[Opener, Home]:
    """The embedded store of this user, or the `memory` store and why it cannot be another."""
    found = installed.find(environ)
    if isinstance(found, str):
        return memory.opener(), replace(memory.HOME, warning=f"{found}, so {memory.LOST}")
    server = Server(found, {name: environ[name] for name in _ENVIRONMENT if name in environ})
    warning = ALONE.format(folder=found.folder) if installed.in_container(environ) else ""
    return server.connection, Home(f"{found.name} in {found.folder}", warning, leave=server.leave)


class Server:
    """One user's part in the server of a folder. It enters with its first connection."""

    def __init__(self, found: Installed, environ: Mapping[str, str]) -> None:
        self._found, self._environ = found, environ
        self._folder = found.folder
        self._entered: int | None = None  # the descriptor that holds users.lock

    def connection(self) -> _Connection:
        """A connection whose `connect` makes sure that the server runs."""
        return _Connection(self)

    async def reach(self, connection: _Connection) -> None:
        """Connects, starting the server if none lives. It waits as long as one starts, loads or ends: the caller has a
        deadline. Raises StoreBroken where the server started here ends by itself.
        """
        await self._enter()
        log: int | None = None  # where the words of the server that this call started begin
        while not await connection.answers():
            with self._no_server() as lock:
                if lock is not None and log is not None:
                    raise StoreBroken(self._why(log))
                if lock is not None:
                    log = self._start(lock)
            await asyncio.sleep(LOOK_S)

    async def leave(self) -> None:
        """Ends the server if nobody else uses it. One that cannot write what it has, or is frozen, is left as it is."""
        descriptor, self._entered = self._entered, None
        if descriptor is None:
            return
        try:
            # Given back first: of two that go together one sees the other gone, which no upgrade promises everywhere.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            if _locked(descriptor, fcntl.LOCK_EX):
                with suppress(TimeoutError, OSError, redis.RedisError):
                    async with asyncio.timeout(END_S):
                        await self._end()
        finally:
            os.close(descriptor)

    async def _enter(self) -> None:
        """Holds users.lock of the folder as it is now: somebody may have moved the one that was entered away."""
        installed.make_private(self._folder)
        file = self._folder / "users.lock"
        if self._entered is not None and _is(self._entered, file):
            return
        descriptor = _opened(file)
        try:
            while not _locked(descriptor, fcntl.LOCK_SH):  # noqa: ASYNC110 - the kernel wakes only those who block
                await asyncio.sleep(LOOK_S)
        except BaseException:
            os.close(descriptor)
            raise
        before, self._entered = self._entered, descriptor
        if before is not None:
            os.close(before)

    @contextmanager
    def _no_server(self) -> Iterator[int | None]:
        """server.lock, if no server has it."""
        descriptor = _opened(self._folder / "server.lock")
        try:
            yield descriptor if _locked(descriptor, fcntl.LOCK_EX) else None
        finally:
            os.close(descriptor)

    def _start(self, lock: int) -> int:
        """Starts a server that keeps the lock, and returns where its words in the log begin.

        The process started here only makes the daemon: it is over in 10 ms, in which nothing else is done.
        """
        if self._found.version < (7, 0) and (self._folder / _PAST_7).exists():
            raise StoreBroken(f"{self._folder} was written by a newer server than {self._found.name}: install that one")
        begin = self._log_begins()
        try:
            done = subprocess.run(  # noqa: S603 - a binary of the user's own PATH
                [self._found.binary, *_options(self._folder)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                cwd=self._folder,
                env=self._environ,
                pass_fds=(lock,),
                start_new_session=True,
                umask=0o077,
                timeout=LAUNCH_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise StoreAway(f"{self._found.binary} did not start within {LAUNCH_S:g} s", sent=False) from None
        if done.returncode:
            said = " ".join((done.stderr or done.stdout).split())
            raise StoreBroken(f"{self._found.binary} does not start: {said[-TOLD_MOST:] or done.returncode}")
        return begin

    def _log_begins(self) -> int:
        log = self._folder / "redis.log"
        with suppress(FileNotFoundError):
            size = log.stat().st_size
            if size <= LOG_MOST:
                return size
            log.unlink()
        return 0

    def _why(self, begin: int) -> str:
        log = self._folder / "redis.log"
        try:
            with log.open("rb") as file:
                file.seek(begin)
                words = _SAID.findall(file.read(LOG_MOST).decode(errors="replace"))
        except OSError:
            words = []
        said = "; ".join(words)[:TOLD_MOST] or "it said nothing"
        return (
            f"{self._found.name} ended as it started in {self._folder}: {said} (see {log}). Mend what it says, or move"
            f" {self._folder} away: then all budgets start from zero"
        )

    async def _end(self) -> None:
        """Returns when no server lives. Raises redis-py's errors where it refuses to go."""
        while True:
            with self._no_server() as lock:
                if lock is not None:
                    return
            connection = _Connection(self)
            try:
                with suppress(redis.ConnectionError):  # it goes without an answer
                    await connection.connect_only()
                    await connection.send_command("SHUTDOWN", check_health=False)
                    await connection.read_response()
            finally:
                await connection.disconnect(nowait=True)
            await asyncio.sleep(LOOK_S)

    @contextmanager
    def address(self) -> Iterator[str]:
        """The socket's path, or a short one by way of a descriptor where that is too long for a socket."""
        path = str(self._folder / SOCKET)
        if len(os.fsencode(path)) <= SOCKET_MOST:
            yield path
            return
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield str(installed.DESCRIPTORS / str(descriptor) / SOCKET)
        finally:
            os.close(descriptor)


class _Connection(UnixDomainSocketConnection):
    """A connection to a server that may have to be started first."""

    def __init__(self, server: Server) -> None:
        super().__init__(path="", **connect.OPTIONS)
        self._server = server

    async def connect(self) -> None:
        await self._server.reach(self)

    async def connect_only(self) -> None:
        """Connects to the server that runs. Raises redis.ConnectionError."""
        with self._server.address() as self.path:
            await super().connect()  # type: ignore[no-untyped-call]

    async def answers(self) -> bool:
        """Connects; whether there is a server that has loaded its data."""
        try:
            await self.connect_only()
            await self.send_command("PING", check_health=False)
            await self.read_response()
        except redis.ConnectionError:
            await self.disconnect(nowait=True)
            return False
        return True


def _options(folder: Path) -> list[str]:
    """No port, an append-only file that is on the disk after a second, nothing evicted.

    The socket is relative to `dir`, which may be too long for one.
    """
    told = {
        "port": "0",
        "unixsocket": SOCKET,
        "unixsocketperm": "700",
        "dir": str(folder),
        "daemonize": "yes",
        "pidfile": str(folder / "redis.pid"),
        "logfile": str(folder / "redis.log"),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
    }
    return [part for name, value in told.items() for part in (f"--{name}", value)]


def _opened(file: Path) -> int:
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _locked(descriptor: int, how: int) -> bool:
    """Whether the lock could be had at once."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
