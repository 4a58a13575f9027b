"""The variables that a config may use: the process's environment, and below it those of `./.env`."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from dotenv.parser import Original, parse_stream

from sidecar.config.problems import ConfigError

_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Environment(Mapping[str, str]):
    """Variables by name; the real environment's win over the file's."""

    real: Mapping[str, str] = field(repr=False)
    file: Mapping[str, str] = field(repr=False)

    def __getitem__(self, name: str) -> str:
        return self.real[name] if name in self.real else self.file[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.real
        yield from (name for name in self.file if name not in self.real)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def origin(self, name: str) -> str:
        """`env OPENAI_API_KEY_2` or `.env OPENAI_API_KEY_2`."""
        return f"env {name}" if name in self.real else f".env {name}"

    def path(self, text: str, folder: FilePath) -> FilePath:
        """Where a path of the config leads: `~` is HOME, where that is set; a relative one begins at `folder`."""
        home, parts = self.get("HOME"), FilePath(text).parts
        return FilePath(home, *parts[1:]) if home and parts[:1] == ("~",) else folder / text

    def alike(self, name: str) -> list[str]:
        """Variables that share a word with this name, at most 8: what an error may offer."""
        words = {word for word in name.upper().split("_") if len(word) > 2}
        return sorted(other for other in self if words & set(other.upper().split("_")))[:8]


def read(
    environ: Mapping[str, str], cwd: FilePath, draft: str | None = None, running: Collection[str] = ()
) -> Environment:
    """The environment of a process started in `cwd`. `draft`: what `.env` would say after an edit; `running`: the
    origins of keys in use.

    Raises ConfigError where `.env` cannot be read to its last line, or is empty although running keys stand in it.
    """
    file = cwd / ".env"
    text = text_of(file) if draft is None else draft
    if not text.strip() and any(origin.startswith(".env ") for origin in running) and file.exists():
        raise ConfigError(
            [".env: is empty, and running keys had their secrets there. To remove them, remove the file."]
        )
    return Environment(environ, parsed(text, ".env"))


def text_of(file: FilePath) -> str:
    """What a file of variables says; "" where there is none. Raises ConfigError."""
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ConfigError([f"{file.name}: cannot be read: {error.strerror}. Mend it, or move it away."]) from None
    if len(content) > _MAX_BYTES:
        raise ConfigError([f"{file.name}: is larger than {_MAX_BYTES} bytes. Move it away, or leave NAME=value in it."])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{file.name}: line {line} is not UTF-8. Save the file as UTF-8."]) from None


def parsed(text: str, name: str) -> dict[str, str]:
    """Values as they stand: nothing is interpolated, so that a `${NAME}` left in a template is seen as one. That of a
    name alone is empty.

    Raises ConfigError, which names the lines of the file called `name` that cannot be read.
    """
    bindings = list(parse_stream(io.StringIO(text)))
    wrong = [_line(binding.original) for binding in bindings if binding.error]
    if wrong:
        remedy = "Mend it (is a quote never closed?), or begin it with #."
        raise ConfigError([f"{name}: line {line} is no NAME=value. {remedy}" for line in wrong])
    return {one.key: one.value or "" for one in bindings if one.key is not None}


def _line(original: Original) -> int:
    """Where it begins, behind the empty lines that are taken with it."""
    return original.line + original.string[: -len(original.string.lstrip())].count("\n")
