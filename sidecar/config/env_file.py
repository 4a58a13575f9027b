"""`.env` as text: secrets are appended under names of their own, and what stands there stays as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from sidecar.config.replacing import line_end
from sidecar.model.configured import Secret

_BARE = re.compile(r"[A-Za-z0-9._:/@+=,-]+\Z")


def appended(text: str, secrets: Mapping[str, Secret]) -> str:
    """The text, whose every line can be read, with one for each of these variables, none of which it may have."""
    end = line_end(text)
    before = text if not text or text.endswith("\n") else text + end
    return before + "".join(f"{name}={_quoted(secret.reveal())}{end}" for name, secret in secrets.items())


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
