"""The only module of the room that writes: files of keys are replaced whole, or stay as they were.

A new text is written beside its file, on the disk before it takes the name: whoever reads meanwhile reads the old one.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_PRIVATE = 0o600
_LINE = ("\r\n", "\n")


def line_end(text: str) -> str:
    """What ends the lines of a text."""
    return next((end for end in _LINE if end in text), "\n")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Waits until no other command edits the files of this folder: of two that read before both wrote, one would be
    lost. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def replace(texts: Mapping[Path, str], private: Path) -> bool:
    """Gives files new texts, in this order, and only after each could be written; a new file has mode 0600. Where one
    cannot take its name after all, as one that is a mount of its own, those before it get their old texts back.

    So has `private` afterwards, the file of them that holds secrets, if others than its owner and group had access:
    True if this changed. A link stays one: what it points at is replaced. Raises OSError.
    """
    prepared: list[tuple[str, Path]] = []
    former: dict[Path, str] = {}
    closed = private in texts and _is_open(private)
    try:
        for path, text in texts.items():
            target = path.resolve()
            prepared.append((_beside(target, text.encode(), closed=closed and path == private), target))
        for _, target in prepared[:-1]:  # behind the last one nothing can fail
            if target.exists():
                former[target] = _beside(target, target.read_bytes(), closed=False)
        _name(prepared, former)
    finally:
        for temporary in (*(temporary for temporary, _ in prepared), *former.values()):
            with suppress(FileNotFoundError):
                Path(temporary).unlink()
    return closed


def _name(prepared: Sequence[tuple[str, Path]], former: Mapping[Path, str]) -> None:
    """Gives all their names, or none: `former` are the old texts, kept before there was anything to mend."""
    named: list[Path] = []
    try:
        for temporary, target in prepared:
            os.replace(temporary, target)  # noqa: PTH105 - the pair of names, not a path's method
            named.append(target)
    except BaseException:
        for target in reversed(named):
            if target in former:
                os.replace(former[target], target)  # noqa: PTH105 - likewise
            else:
                target.unlink()
        raise


def _is_open(file: Path) -> bool:
    """Whether everyone may read or write it. That a group may is somebody's choice, as for a service that reads it."""
    return file.exists() and bool(file.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH))


def _beside(target: Path, content: bytes, *, closed: bool) -> str:
    """A temporary file with the content, with owner and mode of the file that it will replace, unless it is `closed`:
    then with mode 0600. It begins with a dot, so that no folder of keys takes it for one."""
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            if target.exists():
                _own_alike(handle, target.stat(), closed=closed)
            file.write(content)
            file.flush()
            os.fsync(handle)
    except BaseException:
        Path(temporary).unlink()
        raise
    return temporary


def _own_alike(handle: int, old: os.stat_result, *, closed: bool) -> None:
    with suppress(PermissionError):  # only root may give files away
        os.fchown(handle, old.st_uid, old.st_gid)
    os.fchmod(handle, _PRIVATE if closed else stat.S_IMODE(old.st_mode))
