"""The embedded store from outside (its folder, its log, whether a server lives there) and what its users do with it."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from pathlib import Path

from sidecar import config
from sidecar.model.rotations import rotation
from sidecar.model.words import Ask, Grant
from sidecar.store.commands import Store
from sidecar.store.connect import StoreAway

WAIT_S = 30.0


def opened(namespace: str = "test") -> Store:
    """A user of the embedded store that this process's environment names."""
    return Store.at("embedded", namespace, lambda _: None)


async def number(user: Store) -> int:
    """The number of the grant that it gets of the only key there is, as soon as there is a server."""
    told = config.load(None, {"OPENAI_API_KEY": "sk-0a1b2c3d4e5f60718293"}, Path(os.devnull).parent)
    asked = Ask((rotation(told.pools["openai"], told.budgets, "m"),), (0,))
    while True:
        try:
            grant = await user.acquire(asked, lambda _: None)
        except StoreAway:
            await user.up.wait()
        else:
            assert isinstance(grant, Grant)
            return grant.number


class Kept:
    """The embedded store of a state folder, which need not be there yet."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.folder = state / "sidecar" / "redis"

    @property
    def lives(self) -> bool:
        """Whether a server has the folder: its lock tells, whoever reaps the process and when."""
        file = self.folder / "server.lock"
        if not file.exists():
            return False
        with file.open("r+b") as opened:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @property
    def starts(self) -> int:
        """How many servers have begun to serve or tried to."""
        log = self.folder / "redis.log"
        return log.read_text().count("Server initialized") if log.exists() else 0

    @property
    def pid(self) -> int:
        """The server's."""
        return int((self.folder / "redis.pid").read_text() or 0)  # empty while it is written

    def kill(self) -> None:
        """SIGKILL; returns when it is gone, though others may have started a new one by then."""
        killed = self.pid
        os.kill(killed, signal.SIGKILL)
        give_up = time.monotonic() + WAIT_S
        while self.lives and self.pid == killed:
            assert time.monotonic() < give_up, "the server survives a SIGKILL"
            time.sleep(0.001)

    def spoil(self) -> bytes:
        """Makes data that no server can load, and returns what it was."""
        (file,) = self.folder.glob("appendonlydir/*.incr.aof")
        before = file.read_bytes()
        file.write_bytes(b"this was never an append-only file\r\n" + before)
        return before

    def mend(self, data: bytes) -> None:
        (file,) = self.folder.glob("appendonlydir/*.incr.aof")
        file.write_bytes(data)

    def end(self) -> None:
        """Nobody uses it any more, so no server may be left; one that is, is killed and told."""
        if self.lives:
            self.kill()
            raise AssertionError(f"a server was left: {(self.folder / 'redis.log').read_text()[-2000:]}")
