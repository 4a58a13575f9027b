"""What this machine has for an embedded store: a server's binary, and a folder of the user's own.

The folder is `$XDG_STATE_HOME/sidecar/redis`, else `~/.local/state/sidecar/redis` (XDG Base Directory Specification
0.8: state that outlives restarts, a relative path is ignored), with mode 0700, as `sidecar` above it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

NAMES = ("redis-server", "valkey-server")
OLDEST = (6, 2)
SOCKET = "redis.sock"
SOCKET_MOST = 103  # bytes of a socket's path: macOS takes no more, Linux 107
DESCRIPTORS = Path("/proc/self/fd")  # through which a longer path is reached
ANSWER_S = 5.0  # for a binary to say its version

_VERSION = re.compile(r"\bv=(\d+)\.(\d+)[0-9.]*")


@dataclass(frozen=True, slots=True)
class Installed:
    """A binary that is new enough, and the folder that its server may keep."""

    binary: str
    version: tuple[int, int]
    folder: Path

    @property
    def name(self) -> str:
        """Such as `redis-server 7.0`."""
        return f"{Path(self.binary).name} {_dotted(self.version)}"


def find(environ: Mapping[str, str]) -> Installed | str:
    """What there is, the folder made; or why there can be no embedded store and what to do, as a clause."""
    if sys.platform == "win32":
        return "Windows has no embedded store"
    server = _server(environ)
    if isinstance(server, str):
        return server
    try:
        folder = state_folder(environ) / "redis"
        make_private(folder.parent)
        make_private(folder)
    except RuntimeError:
        return "this user has no home for a state folder (set XDG_STATE_HOME to one)"
    except OSError as error:
        return f"{folder} cannot be used ({error.strerror}; set XDG_STATE_HOME to a folder of this user)"
    if len(os.fsencode(folder / SOCKET)) > SOCKET_MOST and not DESCRIPTORS.is_dir():
        return f"{folder} is too long a path for a socket (set XDG_STATE_HOME to a shorter one)"
    return Installed(*server, folder)


def state_folder(environ: Mapping[str, str]) -> Path:
    """Where this user's sidecars keep what outlives them, made or not. Raises RuntimeError for one without a home."""
    given = Path(environ.get("XDG_STATE_HOME") or "")
    if given.is_absolute():
        return given / "sidecar"
    return Path(environ.get("HOME") or Path.home()) / ".local" / "state" / "sidecar"


def make_private(folder: Path) -> None:
    """The folder is there, with mode 0700. Raises OSError; PermissionError also where it is another user's."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise PermissionError(0, "it belongs to another user")
    if found.st_mode & 0o077:
        folder.chmod(0o700)


def in_container(environ: Mapping[str, str]) -> bool:
    """Whether this process most likely has a file system of its own, which ends with it."""
    marks = ("/.dockerenv", "/run/.containerenv")
    return os.getpid() == 1 or "KUBERNETES_SERVICE_HOST" in environ or any(Path(mark).exists() for mark in marks)


def _server(environ: Mapping[str, str]) -> tuple[str, tuple[int, int]] | str:
    """The first binary that is new enough and its version, or what is wrong with the first that there is."""
    wrong = []
    for binary in _binaries(environ):
        version = _version(binary)
        if version is None:
            wrong.append(f"{binary} does not say its version")
        elif version < OLDEST:
            wrong.append(f"{binary} is version {_dotted(version)}, older than {_dotted(OLDEST)}")
        else:
            return binary, version
    missing = f"neither {' nor '.join(NAMES)} is on the PATH"
    return f"{wrong[0] if wrong else missing} (install {NAMES[0]} {_dotted(OLDEST)} or newer)"


def _binaries(environ: Mapping[str, str]) -> Iterator[str]:
    for name in NAMES:
        found = shutil.which(name, path=environ.get("PATH"))
        if found is not None:
            yield found


def _version(binary: str) -> tuple[int, int] | None:
    """As `redis-server --version` tells it: `Redis server v=7.0.15 sha=...`, `Valkey server v=8.0.1 ...`."""
    try:
        done = subprocess.run(  # noqa: S603 - a binary of the user's own PATH
            [binary, "--version"], capture_output=True, text=True, errors="replace", timeout=ANSWER_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = _VERSION.search(done.stdout)
    return (int(found[1]), int(found[2])) if found else None


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
