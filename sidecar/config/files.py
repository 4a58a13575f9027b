"""Which files a config was read from, and what they were when they were read: by their metadata, not their content."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

Sign = tuple[object, ...]  # differs when a file was written, replaced or reached through another link; () for none

_NOTHING: Sign = ()


@dataclass(slots=True)
class Files:
    """Taken down by a load, each file before it is read, those that were not there included."""

    config: Path | None = None  # the file that was chosen, as its user calls it; None: the environment alone
    signs: dict[Path, Sign] = field(default_factory=dict)

    def note(self, path: Path) -> None:
        """A file, or a folder of which every file is read, is about to be."""
        self.signs.setdefault(path, sign(path))


def sign(path: Path) -> Sign:
    """What tells one state of a file from another, or of the files in a folder: links are followed.

    Kubernetes swaps a link above the files, so that their inodes change. What begins with a dot is no file of a folder.
    """
    try:
        found = path.stat()
        if not stat.S_ISDIR(found.st_mode):
            return _of(found)
        with os.scandir(path) as entries:
            return tuple(sorted((entry.name, _entry(entry)) for entry in entries if not entry.name.startswith(".")))
    except (OSError, ValueError):
        return _NOTHING


def _entry(entry: os.DirEntry[str]) -> Sign:
    try:
        return _of(entry.stat())
    except OSError:
        return _NOTHING


def _of(found: os.stat_result) -> Sign:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
