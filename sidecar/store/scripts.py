"""The Lua scripts as Redis takes them: found, joined with the parts they use, and traced back to file and line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import sidecar

NAMES = (
    "acquire",
    "confirm",
    "advance",
    "report",
    "release",
    "settle",
    "renew",
    "leave",
    "register",
    "inspect",
    "models",
    "beat",
    "admin",
    "restore",
    "adopt",
    "count",
    "usage",
    "drift",
    "drifts",
    "made",
    "makers",
    "memory",
    "cache_look",
    "cache_renew",
    "cache_keep",
    "cache_end",
)

_USE = re.compile(r"^--@ use (.+)$")
_LINE = re.compile(r"""(?:user_script: ?|\[string "<python>"\]:)(\d+)""")  # Redis's and fakeredis's name of a script


class ScriptError(Exception):
    """A script cannot be put together, or failed in Redis. The text names the Lua file and line."""


@dataclass(frozen=True, slots=True)
class Script:
    """One command: its whole text, the SHA that Redis calls it by, and where each line of it came from."""

    name: str
    text: str
    sha: str
    lines: tuple[tuple[str, int], ...]

    def locate(self, message: str) -> str:
        """The first line of Redis's error message, with `user_script:LINE` told as file and line."""

        def place(match: re.Match[str]) -> str:
            number = int(match[1]) - 1
            file, line = self.lines[number] if number < len(self.lines) else (self.name, 0)
            return f"lua/{file}:{line}"

        return _LINE.sub(place, message.split("\n", 1)[0])


def folder() -> Path:
    """Where the Lua files lie: inside an installed package, beside it in a checkout."""
    package = Path(sidecar.__file__).parent
    for place in (package / "lua", package.parent / "lua"):
        if (place / "acquire.lua").is_file():
            return place
    raise ScriptError(
        f"the Lua scripts are neither in {package / 'lua'} nor in {package.parent / 'lua'}: reinstall sidecar"
    )


@cache
def load(name: str) -> Script:
    """The script of this name, its parts in front, once each, in the order that its `--@ use` lines give."""
    return join(name, folder())


def join(name: str, lua: Path) -> Script:
    """Puts `<name>.lua` of a folder together. Raises ScriptError for a part that is missing or named twice."""
    lines: list[tuple[str, int, str]] = []
    for part in _parts(lua / f"{name}.lua"):
        lines += _read(lua, f"parts/{part}.lua", name)
    lines += _read(lua, f"{name}.lua", name)
    text = "\n".join(line for _, _, line in lines) + "\n"
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(name, text, sha, tuple((file, number) for file, number, _ in lines))


def _parts(file: Path) -> list[str]:
    parts: list[str] = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if match := _USE.match(line):
            parts += match[1].split()
            twice = {part for part in parts if parts.count(part) > 1}
            if twice:
                raise ScriptError(f"lua/{file.name}:{number}: uses {', '.join(sorted(twice))} twice")
    return parts


def _read(lua: Path, file: str, user: str) -> Iterator[tuple[str, int, str]]:
    """The lines without comments of their own: Redis keeps the text, and it is sent whole where it was forgotten."""
    try:
        text = (lua / file).read_text()
    except FileNotFoundError:
        raise ScriptError(f"lua/{user}.lua uses {file}, which does not exist") from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("--"):
            yield file, number, line
