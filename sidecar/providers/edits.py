"""What is to be done to a JSON body, as data: `jsonhead.edit` does it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

Path = tuple[str, ...]  # keys from the root down; ANY stands for the items of an array
ANY = "*"
Change = Callable[[bytes], bytes | None]  # a value's JSON text -> what it is to be; None: it goes, with its key


class Added(NamedTuple):
    """What is put at the beginning of an object that has neither its key nor, like those around it, one of `unless`."""

    text: bytes
    unless: frozenset[str] = frozenset()


class Edits(NamedTuple):
    """What is to be done to the values at some paths.

    What is added makes the objects on its path that are not there; where something else stands in their place it is
    left out. A null that stands where something is added, or for it, says nothing, and goes.
    """

    changes: Mapping[Path, Change] = {}
    added: Mapping[Path, Added] = {}

    def renaming(self, paths: Iterable[Path], new: Callable[[str], str]) -> Edits:
        """These, and each string at one of the paths made anew."""
        return Edits({**self.changes, **dict.fromkeys(paths, _strings(new))}, self.added)


def _strings(new: Callable[[str], str]) -> Change:
    """A change of what is a string, and of nothing else."""
    return lambda old: msgspec.json.encode(new(msgspec.json.decode(old, type=str))) if old[:1] == b'"' else old


NOTHING = Edits()
