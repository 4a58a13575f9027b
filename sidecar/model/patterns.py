"""Names with `*`: which names a pattern matches, and which of several patterns is the nearest."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.DOTALL)


def matches(pattern: str, name: str) -> bool:
    """Whether the whole name fits; `*` stands for any text, every other character for itself."""
    return _compiled(pattern).fullmatch(name) is not None if "*" in pattern else pattern == name


def nearest(patterns: Iterable[str], name: str) -> str | None:
    """The pattern that is the name itself, else the longest that matches (of equally long ones the first)."""
    fitting = [pattern for pattern in patterns if matches(pattern, name)]
    return max(fitting, key=lambda pattern: (pattern == name, len(pattern)), default=None)


def overlap(one: str, other: str) -> bool:
    """Whether any name fits both.

    From their ends: `fits[at]` says it of what of `other` begins there and what of `one` was walked by then.
    """
    fits = [not other[at:].strip("*") for at in range(len(other) + 1)]
    for sign in reversed(one):
        before, fits = fits, [sign == "*" and fits[-1]] * len(fits)
        for at in reversed(range(len(other))):
            if "*" in {sign, other[at]}:
                fits[at] = before[at] or fits[at + 1]
            else:
                fits[at] = sign == other[at] and before[at + 1]
    return fits[0]
