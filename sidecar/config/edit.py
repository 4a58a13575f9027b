"""A key added where its pool's keys come from: a numbered variable of `.env`, an entry of the file, a file of a folder.

`plan` decides, and reads what would be there afterwards, whole; only `save` writes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path as FilePath
from typing import Any

from sidecar.config import discover, env_file, environment, yaml_edit
from sidecar.config.environment import Environment
from sidecar.config.files import Files
from sidecar.config.load import Opened, chosen, opened, parsed, text_of
from sidecar.config.problems import ConfigError, Problems, nearest, shown
from sidecar.config.read import VARIABLE_NAME
from sidecar.config.replacing import replace
from sidecar.config.schema import KeySources, PoolEntry
from sidecar.config.secrets import ID, ID_RULE, Sources, clean, flaw, is_placeholder, variables
from sidecar.model.configured import Key, Pool, Secret
from sidecar.providers import catalogue

_ENV_FILE = ".env"

_Written = tuple[str, Mapping[FilePath, str]]  # where the key is, and the files with their new texts


@dataclass(frozen=True, slots=True)
class Asked:
    """What shall be added: `pool` "" is the only one there is, `id` "" one that is free."""

    secret: Secret
    pool: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process would run: its `--config`, its environment, its folder."""

    path: FilePath | None
    environ: Mapping[str, str] = field(repr=False)
    cwd: FilePath

    @property
    def env_file(self) -> FilePath:
        return self.cwd / _ENV_FILE

    @property
    def folder(self) -> FilePath:
        """Of the config file; of the process where there is none. Raises ConfigError."""
        file = chosen(self.path, self.environment(), self.cwd)
        return (self.cwd / file).parent if file else self.cwd

    def environment(self) -> Environment:
        return environment.read(self.environ, self.cwd)

    def opened(self, drafts: Mapping[FilePath, str] | None = None) -> Opened:
        return opened(self.path, self.environ, self.cwd, drafts)


@dataclass(frozen=True, slots=True)
class Addition:
    """A key that can be added. `also`: the `pool/id` of keys in other pools that have its secret; `private`: the file
    that will hold it."""

    pool: str
    id: str
    where: str  # `.env OPENAI_API_KEY_3`, `file "keys/team-c"`
    also: tuple[str, ...]
    private: FilePath
    texts: Mapping[FilePath, str] = field(repr=False)


def usable(text: str) -> Secret:
    """The one secret in what was given. Raises ConfigError."""
    cleaned = clean(text)
    if not cleaned:
        raise ConfigError(["no key was given. Pipe it in, or type it at the prompt."])
    if is_placeholder(cleaned):
        raise ConfigError(["what was given is a placeholder, no key."])
    if wrong := flaw(cleaned):
        raise ConfigError([f"what was given {wrong}, so it is no key. `sidecar import` takes a list of them."])
    return Secret(cleaned)


def plan(asked: Asked, place: Place) -> Addition:
    """What to write so that the pool has this key too, tried by reading it as `run` would. Changes nothing.

    Raises ConfigError: the config cannot be used as it stands or would not be afterwards, the pool is not known or
    has the key already.
    """
    if asked.id and not ID.match(asked.id):
        raise ConfigError([f"{shown(asked.id)} is no key id. It is {ID_RULE}."])
    before = _before(place)
    if before is None or (before.file is None and asked.pool in set(_providers()) - set(before.pools)):
        return _first(asked, place)
    pool = _pool(asked.pool, before)
    _check_new(asked, pool)
    entry = before.pools[pool.name]
    if isinstance(entry.keys, list):
        where, texts = _in_list(asked, pool, before, place)
    elif bases := _bases(entry):
        where, texts = _in_variable(asked, _last(bases, before.environment), before.environment, place)
    elif folder := _folder(entry):
        return _in_folder(asked, pool, FilePath(folder), before, place)
    else:
        raise ConfigError([f"pool {shown(pool.name)} has no keys: its API wants none."])
    return _tried(asked, pool.name, pool.keys, where, texts, place)


def save(addition: Addition) -> bool:
    """Writes what was planned: every file whole, or none. True: everyone could read the file of the secret, until now.
    Raises ConfigError."""
    try:
        return replace(addition.texts, addition.private)
    except OSError as error:
        names = ", ".join(path.name for path in addition.texts)
        raise ConfigError([f"{names}: cannot be written: {error.strerror}. No key was added."]) from None


# --- what there is ------------------------------------------------------------------------------------


def _before(place: Place) -> Opened | None:
    """What runs as it stands; None where there is no file and no key yet."""
    try:
        return place.opened()
    except ConfigError:
        environment = place.environment()
        sources = Sources(environment, place.cwd, Problems(None), Files())
        if chosen(place.path, environment, place.cwd) is None and not discover.pools(sources):
            return None
        raise


def _pool(name: str, before: Opened) -> Pool:
    pools = before.config.pools
    if not name and len(pools) == 1:
        return next(iter(pools.values()))
    if name not in pools:
        raise _unknown(f"{shown(name)} is no pool." if name else "there are several pools. Name one.", name, pools)
    return pools[name]


def _check_new(asked: Asked, pool: Pool) -> None:
    for key in pool.keys:
        if key.secret == asked.secret:
            raise ConfigError([f"pool {shown(pool.name)} has this key already: {shown(key.id)} ({key.origin})."])
        if key.id == asked.id:
            raise ConfigError([f"{shown(key.id)} is the id of another key of the pool ({key.origin})."])


def _bases(entry: PoolEntry) -> list[str]:
    """The base names of the variables that hold a pool's keys."""
    named = entry.keys.from_env if isinstance(entry.keys, KeySources) else None
    return [named] if isinstance(named, str) else named or []


def _folder(entry: PoolEntry) -> str | None:
    return entry.from_dir or (entry.keys.from_dir if isinstance(entry.keys, KeySources) else None)


def _last(bases: list[str], environment: Environment) -> str:
    """The base name whose keys come last, so that a key behind them changes no other's id."""
    return next(base for base in reversed(bases) if variables(base, environment))


def _unknown(text: str, word: str, known: Iterable[str]) -> ConfigError:
    names = list(known)
    near = nearest(word, names)
    return ConfigError([text + (f" Did you mean {shown(near)}?" if near else "") + f"\n  Known: {', '.join(names)}."])


def _providers() -> list[str]:
    """Those whose variables make a pool where there is no file."""
    return [name for name in catalogue.names() if catalogue.preset(name).base_url]


# --- where the key goes -------------------------------------------------------------------------------


def _first(asked: Asked, place: Place) -> Addition:
    """Without a file the first key of a provider makes a pool that is called like it."""
    if asked.pool not in _providers():
        text = f"{shown(asked.pool)} is no provider." if asked.pool else "there is no pool yet. Name a provider."
        raise _unknown(text, asked.pool, _providers())
    base = catalogue.preset(asked.pool).environment[0]
    where, texts = _in_variable(asked, base, place.environment(), place)
    return _tried(asked, asked.pool, (), where, texts, place)


def _in_variable(asked: Asked, base: str, environment: Environment, place: Place) -> _Written:
    """A variable behind all of this base name, in `.env`: a gap between them stays, since ids go by position."""
    if asked.id:
        raise ConfigError([f"--id is for keys that a file lists. Those of {base} are called by their position."])
    there = variables(base, environment)
    number = int(there[-1].removeprefix(f"{base}_")) + 1 if there and there[-1] != base else 1
    name = f"{base}_{number}" if there else base
    return f"{_ENV_FILE} {name}", {place.env_file: _with_variable(name, asked.secret, place)}


def _in_list(asked: Asked, pool: Pool, before: Opened, place: Place) -> _Written:
    """An entry at the end of the file's list, which reads the secret from a variable of its own in `.env`."""
    if before.file is None or "SIDECAR_POOLS" in before.environment:
        raise ConfigError([f"the keys of pool {shown(pool.name)} stand in a variable, which no command can change."])
    key_id = asked.id or _free_id(pool)
    name = _free_variable(pool.name, key_id, before)
    file, item = before.file, {"id": key_id, "secret": f"${{{name}}}"}
    path = ("pools", pool.name, "keys")
    text = text_of(file, place.cwd)
    new = yaml_edit.with_item(text, path, item)
    if new is None or parsed(new, file) != _with_item(before.written, pool.name, item):
        raise ConfigError(
            [
                f"{file}: the list of the keys of pool {shown(pool.name)} is written such that no command can add to"
                f' it. Put {name} into {_ENV_FILE} and {{id: {key_id}, secret: "${{{name}}}"}} into the list.'
            ]
        )
    texts = {place.env_file: _with_variable(name, asked.secret, place), place.cwd / file: new}
    return f"{file}, its secret in {_ENV_FILE} as {name}", texts


def _in_folder(asked: Asked, pool: Pool, folder: FilePath, before: Opened, place: Place) -> Addition:
    """A file of the folder, called like the key."""
    name = asked.id or _free_id(pool)
    beside = (place.cwd / before.file).parent if before.file else place.cwd
    file = before.environment.path(os.fspath(folder), beside) / name
    if os.path.lexists(file.parent / "..data"):
        raise ConfigError(
            [f"{shown(os.fspath(folder))} is mounted by Kubernetes. Add the key to the secret behind it."]
        )
    if os.path.lexists(file) or name.startswith("."):
        raise ConfigError([f"{shown(name)} cannot be the name of a new file of {shown(os.fspath(folder))}."])
    where = f"file {shown(os.fspath(folder / name))}"
    texts = {file: asked.secret.reveal() + "\n"}
    return Addition(pool.name, name, where, _also(asked, pool.name, before), file, texts)


def _with_variable(name: str, secret: Secret, place: Place) -> str:
    """What `.env` would say. Raises ConfigError where it is not the config's neighbour: whoever starts there reads
    another one, and a config that names a variable which is nowhere set is rejected."""
    if place.folder.resolve() != place.cwd.resolve():
        raise ConfigError(
            [
                f"the secret would go to {place.env_file}, which a sidecar that starts beside its config does not read."
                f" Run this in {place.folder.resolve()}, or list the key there with a `secret_file`. No key was added."
            ]
        )
    return env_file.appended(environment.text_of(place.env_file), {name: secret})


def _with_item(written: Mapping[object, object], pool: str, item: Mapping[str, str]) -> object:
    """The file's data with the entry in the pool's list, and nowhere else."""
    expected: Any = json.loads(json.dumps(written, default=str))
    expected["pools"][pool]["keys"].append(item)
    return expected


def _free_id(pool: Pool) -> str:
    taken = {key.id for key in pool.keys}
    return next(name for number in count(len(taken) + 1) if (name := f"{pool.name}-{number}") not in taken)


def _free_variable(pool: str, key_id: str, before: Opened) -> str:
    """A name for the secret that is not there yet and that no pool reads by its base name."""
    called = key_id if key_id.startswith(pool) else f"{pool}_{key_id}"
    base = re.sub(r"\W", "_", called, flags=re.ASCII).upper() + "_API_KEY"
    base = base if VARIABLE_NAME.match(base) else f"K_{base}"
    name = env_file.free_name(base, before.environment)
    read = [base for entry in before.pools.values() for base in _bases(entry)]
    return f"{name}_OF_{pool.upper()}" if any(variables(base, [name]) for base in read) else name


# --- what it comes to -----------------------------------------------------------------------------------


def _tried(
    asked: Asked, pool: str, keys: tuple[Key, ...], where: str, texts: Mapping[FilePath, str], place: Place
) -> Addition:
    """The addition, once the config is read with it: one more key, and every other as it was."""
    after = place.opened(texts)
    found = after.config.pools[pool].keys if pool in after.config.pools else ()
    added = [key for key in found if key.secret == asked.secret]
    if len(added) != 1 or [key for key in found if key is not added[0]] != list(keys):
        raise ConfigError([f"{where} would not be one more key of pool {shown(pool)}. No key was added."])
    return Addition(pool, added[0].id, where, _also(asked, pool, after), place.env_file, texts)


def _also(asked: Asked, pool: str, opened: Opened) -> tuple[str, ...]:
    others = (other for other in opened.config.pools.values() if other.name != pool)
    return tuple(f"{other.name}/{key.id}" for other in others for key in other.keys if key.secret == asked.secret)
