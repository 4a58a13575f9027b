"""Where a running process has its config from, to be read again: only files that lie still are read.

They are looked at once a second. inotify hears nothing of what another machine wrote (NFS) or of what lies below an
overlay, so looking was needed anyway; 1,000 files cost 2 ms a look, and contents need not be read for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from sidecar.config.files import Files, Sign, sign
from sidecar.config.load import load
from sidecar.config.problems import ConfigError
from sidecar.config.secrets import in_use
from sidecar.model.configured import Config

LOOK_S: Final = 1.0  # between two looks; no file system's clock is much coarser
FIXED: Final = ("listen", "ops_listen", "redis", "namespace")  # what only a restart changes


class Source:
    """The `--config`, the environment and the folder that a process was started with. Its methods block."""

    def __init__(self, path: Path | None, environ: Mapping[str, str], cwd: Path) -> None:
        self._path, self._environ, self._cwd = path, environ, cwd
        self._read: dict[Path, Sign] = {}  # each file as it was when it was read
        self._seen: dict[Path, Sign] = {}  # and at the last look

    @property
    def place(self) -> Path:
        """The file that was read, whatever links lead to it, or the folder of a config of the environment alone."""
        return (self._cwd / (self._path or "")).resolve()

    def load(self) -> Config:
        """The config as it is now. Raises ConfigError.

        A file once used is used from then on: one that is away while it is replaced must not become a config of the
        environment alone.
        """
        return self._load({}, frozenset())

    def reload(self, running: Config) -> tuple[Config, tuple[str, ...]]:
        """The config as it is now, with what is fixed as it runs; and which of that was changed.

        Raises ConfigError, also where what held a running key's secret is empty now.
        """
        config, fixed = self._reread(running)
        if config.cache_redis == running.cache_redis:
            return config, fixed
        return replace(config, cache_redis=running.cache_redis), (*fixed, "cache.redis")

    def _reread(self, running: Config) -> tuple[Config, tuple[str, ...]]:
        """Twice where what is FIXED was changed: how Redis calls a key follows from the namespace, and whether clients
        are needed from where the process listens.
        """
        used = in_use(running)
        config = self._load({}, used)
        fixed = tuple(name for name in FIXED if getattr(config, name) != getattr(running, name))
        if fixed:
            config = self._with_kept(running, fixed, used)
        if (config.tls is None) != (running.tls is None):  # whether there is one, not which
            config, fixed = replace(config, tls=running.tls), (*fixed, "tls")
        return config, fixed

    def _with_kept(self, running: Config, fixed: tuple[str, ...], used: frozenset[str]) -> Config:
        kept = {f"SIDECAR_{name.upper()}": name for name in fixed}
        try:
            config = self._load({variable: str(getattr(running, name)) for variable, name in kept.items()}, used)
        except ConfigError as error:
            raise ConfigError([_told(problem, kept) for problem in error.problems], error.warnings) from None
        return replace(config, **{name: getattr(running, name) for name in fixed})

    def _load(self, settings: Mapping[str, str], used: frozenset[str]) -> Config:
        files = Files()
        try:
            config = load(self._path, {**self._environ, **settings}, self._cwd, files, used)
        except ConfigError:
            # What it did not come to is taken as read, or it would be read again each second.
            self._read = {path: sign(path) for path in self._read} | files.signs
            raise
        self._path, self._read = files.config, files.signs
        return config

    def changed(self) -> bool:
        """Whether a file is not what was read, and the same as at the last look: it is no longer being written."""
        seen = {path: sign(path) for path in list(self._read)}
        still, self._seen = seen == self._seen, seen
        return still and seen != self._read


def _told(problem: str, kept: Mapping[str, str]) -> str:
    """A problem with a setting that is kept, in other words than those of the variable that kept it."""
    for variable, name in kept.items():
        problem = problem.replace(f"env {variable}", f"{name} (as it is until a restart)")
    return problem
