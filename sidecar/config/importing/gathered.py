"""What an import has come to: pools as the config's YAML says them, each secret under a variable's name, and notes.

No secret is in the YAML: what stood in the input becomes a variable, for a file beside it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import yaml

from sidecar.config.env_file import free_name
from sidecar.config.problems import ConfigError, shown
from sidecar.config.secrets import ID, clean, flaw, is_placeholder, telling
from sidecar.model.configured import Secret

Data = dict[str, Any]

_NAME = r"([A-Za-z_][A-Za-z0-9_]*)"
_VARIABLE = re.compile(rf"os\.environ/{_NAME}|\$\{{{_NAME}\}}|\$([A-Z_][A-Z0-9_]*)|{_NAME}_PLACEHOLDER", re.ASCII)

_ORDER = ("redis", "pools", "routes", "clients", "cache")


@dataclass(frozen=True, slots=True)
class Imported:
    """A config as plain data, the secrets that its `${NAME}` want beside what the environment has, and what was lost.

    `reads`: every variable that the data names.
    """

    document: Data
    secrets: Mapping[str, Secret]
    reads: tuple[str, ...]
    notes: tuple[str, ...]


class Line(dict[str, Any]):
    """A mapping that is written on one line."""


@dataclass
class Gathered:
    """Filled by the reader of one shape. Names that `environment` has or `reserved` are given to no secret.

    `named`: the variables that the input itself names, set or not.
    """

    environment: Mapping[str, str] = field(repr=False)
    reserved: Collection[str] = ()
    document: Data = field(default_factory=dict)
    pools: dict[str, Data] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)
    reads: dict[str, None] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    notes: dict[str, None] = field(default_factory=dict)

    def note(self, text: str) -> None:
        self.notes[text] = None

    def lost(self, place: str, fields: Iterable[str]) -> None:
        """Names settings that have no counterpart."""
        names = ", ".join(fields)
        if names:
            self.note(f"{place}: no counterpart for {names}.")

    def variable(self, name: str) -> str:
        """`${NAME}` for a variable that the input names."""
        self.named.add(name)
        return self._read(name)

    def text(self, value: object) -> str:
        """A text of the input; one that names a variable as ours would."""
        named = _VARIABLE.fullmatch(str(value))
        return self.variable(next(filter(None, named.groups()))) if named else str(value)

    def secret(self, value: object, base: str, place: str) -> str | None:
        """`${NAME}` for what stands where a secret belongs: the variable it names, else one that will hold it, called
        `base` if that is free. None after a note where it is no secret."""
        cleaned = clean(str(value))
        named = self.text(cleaned)
        if named != cleaned or _VARIABLE.fullmatch(cleaned):
            return named
        wrong = "is empty" if not cleaned else "is a placeholder" if is_placeholder(cleaned) else flaw(cleaned)
        if wrong:
            self.note(f"{place}: the key {wrong}, so it is left out.")
            return None
        return self._read(self._kept(Secret(cleaned), base))

    def hold(self, name: str, value: object, place: str) -> None:
        """Keeps the value of a variable that the input itself sets."""
        text = clean(str(value))
        if not text or flaw(text):
            self.note(f"{place}: holds nothing that can be a key, so it is left out.")
        elif name not in self.environment:
            self.secrets[name] = Secret(text)

    def _read(self, name: str) -> str:
        self.reads[name] = None
        return f"${{{name}}}"

    def _kept(self, secret: Secret, base: str) -> str:
        for name, known in self.secrets.items():
            if known == secret:
                return name
        same = [name for name in self.environment if _is_of(name, base) and Secret(self.environment[name]) == secret]
        if same:
            return same[0]
        name = free_name(base, {*self.environment, *self.secrets, *self.reserved})
        self.secrets[name] = secret
        return name

    def add_key(self, pool: str, key: Data, where: str) -> None:
        """Appends to the pool's keys, under an id that is free; a secret that the pool has already is told.

        `where` it stands in the input: that names a key without an id.
        """
        keys = self.pools[pool].setdefault("keys", [])
        same = next((one["id"] for one in keys if one["secret"] == key["secret"]), None)
        if same is not None:
            which = f"key {shown(key['id'])}" if key["id"] else f"the key of {where}"
            self.note(f"pool {pool}: {which} has the same secret as {shown(same)}. It is left out.")
            return
        taken = {one["id"] for one in keys}
        wanted = key["id"] or f"{pool}-{len(keys) + 1}"
        free = free_name(as_id(wanted), taken)
        if free != wanted:
            self.note(f"pool {pool}: key {shown(wanted)} is called {shown(free)} here.")
        keys.append(Line(key | {"id": free}))

    def done(self) -> Imported:
        """The result. Raises ConfigError where no pool has a key."""
        pools = {name: pool for name, pool in self.pools.items() if pool.get("keys") or pool.get("auth") == "none"}
        if not pools:
            raise ConfigError(["no key was found.", *self.notes])
        self._rename(pools)
        said = {"pools": pools} | self.document
        document = {field: said[field] for field in _ORDER if field in said}
        return Imported(document, self.secrets, tuple(self.reads), tuple(self.notes))

    def _rename(self, pools: Mapping[str, Data]) -> None:
        """Calls keys otherwise whose ids are, or hold, a secret: ids are shown everywhere."""
        keys = [(pool, at, key) for pool, made in pools.items() for at, key in enumerate(made.get("keys", []), 1)]
        held = {**self.environment, **{name: secret.reveal() for name, secret in self.secrets.items()}}
        tells = telling(Secret(clean(held.get(key["secret"][2:-1], ""))) for _, _, key in keys)
        for pool, at, key in keys:
            if tells(key["id"]):
                key["id"] = free_name(f"{pool}-{at}", {one["id"] for one in pools[pool]["keys"]})
                self.note(f"pool {pool}: the id of key {at} holds a secret, so it is called {shown(key['id'])} here.")


def number(value: object) -> float | None:
    """A number, whole where it can be; None where it is none."""
    try:
        said = float(str(value))
    except ValueError:
        return None
    return None if not isfinite(said) else int(said) if said == int(said) else said


def as_id(text: str) -> str:
    """The text as an id of a key: what an id cannot hold is a `-`."""
    if ID.match(text):
        return text
    return re.sub(r"[^A-Za-z0-9._@:-]+", "-", text, flags=re.ASCII)[:120].strip("-") or "key"


def as_pool(text: str) -> str:
    """The text as a pool's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text, flags=re.ASCII)[:60].strip("-.") or "pool"


def as_variable(text: str) -> str:
    """The text as a variable's name."""
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").upper()
    return name if name and not name[0].isdigit() else f"KEY_{name}"


def rendered(document: Data) -> str:
    """The data as YAML that reads like written by hand: a key, a limit or a target on a line."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def _is_of(name: str, base: str) -> bool:
    return name == base or (name.startswith(f"{base}_") and name[len(base) + 1 :].isdigit())


class _Dumper(yaml.SafeDumper):
    """Indents lists below their field, and repeats instead of referring back."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if "${" in text else None)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(
    Line, lambda dumper, data: dumper.represent_mapping("tag:yaml.org,2002:map", dict(data), flow_style=True)
)
