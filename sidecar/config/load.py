"""Finds the config and reads it: `--config`, `$SIDECAR_CONFIG`, `./sidecar.yaml`, else the environment alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sidecar.config import discover, environment, read, shape
from sidecar.config.environment import Environment
from sidecar.config.files import Files
from sidecar.config.problems import ConfigError, Problems, Substituted, nearest
from sidecar.config.resolve import resolve
from sidecar.config.schema import Document, PoolEntry
from sidecar.config.secrets import Sources
from sidecar.model.configured import Config

FILE = "sidecar.yaml"
_CHOICE = "SIDECAR_CONFIG"
_MAX_BYTES = 8 * 1024 * 1024
_KUBERNETES = ("_SERVICE_HOST", "_SERVICE_PORT", "_PORT_")  # what it sets for a Service that is called `sidecar`


@dataclass(frozen=True, slots=True)
class _Given:
    """A top-level field that a variable gives."""

    variable: str
    value: object


@dataclass(frozen=True, slots=True)
class Opened:
    """A checked config and what it was made of; `pools` are the file's entries, or those that discovery made."""

    config: Config
    pools: Mapping[str, PoolEntry]
    file: Path | None
    written: Mapping[object, object]  # the file's own data, before any variable
    environment: Environment


def load(
    path: Path | None,
    environ: Mapping[str, str],
    cwd: Path,
    files: Files | None = None,
    running: frozenset[str] = frozenset(),
) -> Config:
    """The config of a process started in `cwd`, checked whole; `path` is its `--config`, `files` hears what is read,
    `running` is what the process has `in_use`.

    Does no I/O but reading: the file, `.env`, files of keys. Raises ConfigError, whose text is every problem found.
    """
    return opened(path, environ, cwd, files=files, running=running).config


def opened(
    path: Path | None,
    environ: Mapping[str, str],
    cwd: Path,
    drafts: Mapping[Path, str] | None = None,
    files: Files | None = None,
    running: frozenset[str] = frozenset(),
) -> Opened:
    """What `load` gives, with its parts. `drafts`: files below `cwd` and what they would say after an edit."""
    drafts, files = drafts or {}, files or Files()
    files.note(cwd / ".env")
    variables = environment.read(environ, cwd, drafts.get(cwd / ".env"), running)
    file = files.config = chosen(path, variables, cwd)
    files.note(cwd / (file or FILE))
    written = parsed(drafts[cwd / file] if cwd / file in drafts else text_of(file, cwd), file) if file else {}
    given = _given(written, file, variables)
    problems = Problems(str(file) if file else None, {field: one.variable for field, one in given.items()})
    for warning in _unknown(variables):
        problems.note(warning)
    rest = {name: value for name, value in written.items() if name not in given}
    data = read.substitute(rest, variables, problems) | {field: one.value for field, one in given.items()}
    sources = Sources(variables, (cwd / file).parent if file else cwd, problems, files, running)
    document = shape.document(data, problems)
    pools = _pools(document, file, sources)
    config = resolve(document, pools, sources)
    problems.check()
    return Opened(replace(config, warnings=problems.warnings), pools, file, written, variables)


def chosen(path: Path | None, variables: Mapping[str, str], cwd: Path) -> Path | None:
    """The config file of a process started in `cwd`, as its user calls it; None: there is none."""
    if path is not None:
        return path
    if variables.get(_CHOICE):
        return Path(variables[_CHOICE])
    return Path(FILE) if os.path.lexists(cwd / FILE) else None


def parsed(text: str, file: Path) -> dict[object, object]:
    """What a file's text says as it stands. Raises ConfigError."""
    data = read.parse(text, str(file))
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError([f"{file}: expected a mapping of fields, found {shape.found(data)}."])
    return data


def text_of(file: Path, cwd: Path) -> str:
    """The text of a config file. Raises ConfigError."""
    try:
        with (cwd / file).open("rb") as opened:
            content = opened.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ConfigError([f"{file}: is larger than {_MAX_BYTES} bytes, so it is no config."])
        return content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError([f"{file}: cannot be read: {error.strerror}."]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{file}: is not UTF-8, at byte {error.start}."]) from None


def _given(written: Mapping[object, object], file: Path | None, variables: Environment) -> dict[str, _Given]:
    """What variables say of top-level fields. An empty variable says nothing.

    `SIDECAR_<FIELD>` goes before the file. `REDIS_URL` is `redis` where the file says none; without a file
    `PROXY_API_KEY` is a client's virtual key.
    """
    given = {}
    url, token = variables.get("REDIS_URL"), variables.get("PROXY_API_KEY", "").strip()
    if url and written.get("redis") is None:
        given["redis"] = _Given("REDIS_URL", Substituted(url, "${REDIS_URL}"))
    if token and file is None:
        client = {"id": "proxy", "token": Substituted(token, "${PROXY_API_KEY}")}
        given["clients"] = _Given("PROXY_API_KEY", [client])
    for field in shape.field_names():
        name = _variable(field)
        if variables.get(name):
            given[field] = _Given(name, _value(field, name, variables[name]))
    return given


def _value(field: str, name: str, text: str) -> object:
    """A variable's text as the field wants it: lists and mappings are YAML, `hosts` may be `a.example,b.example`."""
    if shape.is_text(field):
        return text
    if field == "hosts" and not text.lstrip().startswith("["):
        return [host.strip() for host in text.split(",") if host.strip()]
    return read.parse(text, f"env {name}")


def _pools(document: Document, file: Path | None, sources: Sources) -> dict[str, PoolEntry]:
    """The file's pools; discovered ones only where there is no file."""
    problems = sources.problems
    found = document.pools
    if found is None and file is None:
        found = discover.pools(sources)
    if not found and not problems.under(("pools",)):
        discover.no_pools(problems, file=file is not None)
    return found or {}


def _unknown(variables: Environment) -> list[str]:
    """Warnings about variables that look like settings and are none."""
    known = {_variable(field): field for field in shape.field_names()} | {_CHOICE: "config"}
    warnings = []
    for name in sorted(variables):
        if not name.startswith("SIDECAR_") or name in known or any(part in name for part in _KUBERNETES):
            continue
        near = nearest(name.removeprefix("SIDECAR_"), known.values())
        if not variables[name].startswith("tcp://"):
            warnings.append(f"env {name} is no setting." + (f" Did you mean {_variable(near)}?" if near else ""))
    return warnings


def _variable(field: str) -> str:
    return f"SIDECAR_{field.upper()}"
