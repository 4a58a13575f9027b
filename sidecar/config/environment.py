"""The variables that a config may use: the process's environment, and below it those of `./.env`."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from dotenv.parser import parse_stream

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


def read(environ: Mapping[str, str], cwd: FilePath, draft: str | None = None) -> tuple[Environment, list[str]]:
    """The environment of a process started in `cwd`, and warnings about what its `.env` says that is not understood.

    `draft`: what `.env` would say after an edit.
    """
    if draft is not None:
        values, warnings = parsed(draft)
        return Environment(environ, values), warnings
    try:
        with (cwd / ".env").open("rb") as file:
            text = file.read(_MAX_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        return Environment(environ, {}), []
    except OSError as error:
        return Environment(environ, {}), [f".env: cannot be read: {error.strerror}. It is left out."]
    except UnicodeDecodeError:
        return Environment(environ, {}), [".env: is not UTF-8. It is left out."]
    values, warnings = parsed(text)
    return Environment(environ, values), warnings


def parsed(text: str) -> tuple[dict[str, str], list[str]]:
    """Values as they stand: nothing is interpolated, so that a `${NAME}` left in a template is seen as one."""
    values: dict[str, str] = {}
    warnings = []
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            warnings.append(f".env: line {binding.original.line} is no NAME=value. It is left out.")
        elif binding.key is not None and binding.value is not None:
            values[binding.key] = binding.value
    return values, warnings
