"""`.env` as text: secrets are appended under names of their own, and what stands there stays as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from sidecar.config import environment
from sidecar.config.problems import ConfigError
from sidecar.config.replacing import line_end
from sidecar.model.configured import Secret

_BARE = re.compile(r"[A-Za-z0-9._:/@+=,-]+\Z")


def text_of(file: Path) -> str:
    """The file's text; "" where there is none. Raises ConfigError."""
    try:
        return file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ConfigError([f"{file.name}: cannot be read: {error.strerror}."]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{file.name}: is not UTF-8, so no key can be added to it."]) from None


def values(text: str) -> dict[str, str]:
    """The variables of a text."""
    return environment.parsed(text)[0]


def appended(text: str, secrets: Mapping[str, Secret]) -> str:
    """The text with a line for each of these variables, none of which it may have. Raises ConfigError where the text
    is such that what follows it would not be read, as behind a quote that is never closed."""
    end = line_end(text)
    before = text if not text or text.endswith("\n") else text + end
    new = before + "".join(f"{name}={_quoted(secret.reveal())}{end}" for name, secret in secrets.items())
    if values(new) != values(text) | {name: secret.reveal() for name, secret in secrets.items()}:
        raise ConfigError([".env: a line added at its end would not be read. Mend what stands before it."])
    return new


def free_name(base: str, taken: Iterable[str]) -> str:
    """The base name, else the first of `<base>_1`, `<base>_2`, ... that is not taken."""
    names = set(taken)
    number, name = 0, base
    while name in names:
        number += 1
        name = f"{base}_{number}"
    return name


def _quoted(value: str) -> str:
    if _BARE.match(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
