"""What is wrong with a config, gathered until all of it can be told at once, and without a secret in it."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence

Path = tuple[str | int, ...]  # `("pools", "chat", "limits", 1, "per")`

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_CREDENTIAL = re.compile(r"(?i)(sk|rk|pk|gsk|xai|nvapi|pplx|csk|hf|r8|fw|ghp|bearer|basic)[-_ .]|AIza|AQ\.|eyJ")
_WORDS = re.compile(r"[^A-Za-z0-9]+")
_SHOWN = 80  # characters of a value that an error repeats


class ConfigError(Exception):
    """The config cannot be used. Its text is every problem found: a line each, and an indented one of what is known.

    Warnings follow the errors, marked as such: what was left out is often why something is missing.
    """

    def __init__(self, problems: Sequence[str], warnings: Sequence[str] = ()) -> None:
        super().__init__("\n".join((*problems, *(f"warning: {warning}" for warning in warnings))))
        self.problems, self.warnings = tuple(problems), tuple(warnings)


class Substituted(str):
    """A value that came from the environment. Errors show how it was `written`, never what it is."""

    __slots__ = ("written",)
    written: str

    def __new__(cls, text: str, written: str) -> Substituted:
        made = super().__new__(cls, text)
        made.written = written
        return made


class Problems:
    """Errors and warnings in the order they were found, none told twice.

    `source` is the config file as the user calls it, None where the config was read from the environment;
    `overridden` says which variable gave a top-level field.
    """

    def __init__(self, source: str | None, overridden: Mapping[str, str] | None = None) -> None:
        self._source = source
        self._overridden = overridden or {}
        self._errors: dict[str, None] = {}
        self._warnings: dict[str, None] = {}
        self._paths: list[Path] = []

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self._warnings)

    def error(self, path: Path, text: str, word: str = "", known: Iterable[str] = ()) -> None:
        """Adds an error; with `known`, the known name nearest to `word` and the list of them all."""
        self._paths.append(path)
        self._errors[f"{self.place(path)}: {text}{_hint(word, known)}"] = None

    def warn(self, path: Path, text: str) -> None:
        self.note(f"{self.place(path)}: {text}")

    def note(self, text: str) -> None:
        """Adds a warning about something that is not in the config."""
        self._warnings[text] = None

    def under(self, path: Path) -> bool:
        """Whether something at or below this path is wrong, so that what follows from it need not be told."""
        return any(wrong[: len(path)] == path for wrong in self._paths)

    def place(self, path: Path, between: str = ": ") -> str:
        """Where a value stands: `sidecar.yaml: pools.chat.keys[0]`, `env SIDECAR_LISTEN`."""
        if path and path[0] in self._overridden:
            variable = self._overridden[str(path[0])]
            below = _joined(path[1:], first=False) if variable.startswith("SIDECAR_") else ""
            return f"env {variable}{below}"
        if self._source is None:
            path = path[:2]  # what discovery made of a pool is below fields that nobody wrote
        source = self._source or "environment"
        return f"{source}{between}{_joined(path)}" if path else source

    def check(self) -> None:
        """Raises ConfigError if there was any error."""
        if self._errors:
            raise ConfigError(tuple(self._errors), self.warnings)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name most like the word, whatever their case."""
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, 1)
    return names[close[0]] if close else None


def shown(value: object) -> str:
    """A value as an error may repeat it: quoted and short, and nothing that could be a credential."""
    if isinstance(value, Substituted):
        return shown(value.written)
    if not isinstance(value, str):
        return str(value)
    if _secretive(value):
        return "(hidden)"
    return json.dumps(value if len(value) <= _SHOWN else value[:_SHOWN] + "...", ensure_ascii=not value.isprintable())


def _secretive(text: str) -> bool:
    """Whether it has a word that no name has: long, or ten letters and digits mixed."""
    return bool(_CREDENTIAL.match(text)) or any(
        len(word) >= 20 or (len(word) >= 10 and not word.isalpha() and not word.isdigit())
        for word in _WORDS.split(text)
    )


def _hint(word: str, known: Iterable[str]) -> str:
    names = [name for name in known if not _secretive(name)]
    if not names:
        return ""
    near = nearest(word, names)
    return (f" Did you mean {shown(near)}?" if near else "") + f"\n  Known: {', '.join(names)}."


def _joined(path: Path, *, first: bool = True) -> str:
    """`pools.chat.limits[1].per`; a name that is not plain is quoted: `routes["gpt-4.1"]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif not _PLAIN.match(step) or _secretive(step):
            text += f"[{shown(step)}]"
        else:
            text += step if first and not text else f".{step}"
    return text
