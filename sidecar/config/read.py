"""Texts into plain data: YAML and JSON, `${NAME}`, durations and sizes. Knows nothing of the fields."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import ClassVar

import yaml

from sidecar.config.environment import Environment
from sidecar.config.problems import ConfigError, Path, Problems, Substituted, shown
from sidecar.model.configured import SECOND_US

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)(ms|s|m|h)", re.ASCII)
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?) ?([KMG]i?B?|B)?", re.ASCII | re.IGNORECASE)
_SHARE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)(%?)", re.ASCII)
_UNITS_US = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3}
_DEPTH = 30  # deeper than any config, shallower than Python's stack
_VALUES = 200_000  # what a file may come to once its aliases are followed
_QUOTED = re.compile(r"'(?!<)[^'\s]{2,}'")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML without the scalars of 1.1 that surprise: `on`, `1:30`, `010`, `1_000` and `2025-01-01` stay texts."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


for _tag, _pattern, _first in (
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)\Z", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]{0,17})\Z", "-+0123456789"),
    ("float", r"[-+]?[0-9]+\.[0-9]+\Z", "-+0123456789"),
    ("null", r"(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    ("merge", r"<<\Z", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def parse(text: str, source: str) -> object:
    """The data of a YAML or JSON text. Raises ConfigError with line and column, and none of the text itself."""
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text, object_pairs_hook=_pairs)
        except (ValueError, RecursionError):
            pass  # YAML's flow style, or broken: then YAML says where
    try:
        return _loaded(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = _QUOTED.sub("(hidden)", error.problem or error.context or "is no YAML")
        raise ConfigError([f"{source}: {where}{problem}."]) from None
    except yaml.reader.ReaderError as error:
        raise ConfigError([f"{source}: has a character that YAML does not allow, at {error.position}."]) from None
    except RecursionError:
        raise ConfigError([f"{source}: is nested too deeply."]) from None


def _loaded(text: str) -> object:
    _check_depth(text)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_names(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check_depth(text: str) -> None:
    """Raises RecursionError for a text nested deeper than any config. The C composer would overflow its stack on it."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEPTH:
            raise RecursionError


def _check_names(root: yaml.Node) -> None:
    """Raises MarkedYAMLError where a mapping has a name twice. PyYAML would keep the last one and say nothing."""
    waiting, done = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in done:
            continue
        done.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            names = set()
            for key, value in node.value:
                name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else (key.tag, str(id(key)))
                if name in names:
                    raise yaml.MarkedYAMLError(
                        problem="the same name twice in one mapping", problem_mark=key.start_mark
                    )
                names.add(name)
                waiting.append(value)


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("the same name twice")
    return dict(pairs)


def substitute(data: dict[object, object], environment: Environment, problems: Problems) -> dict[object, object]:
    """The fields with every `${NAME}` in its values replaced; a variable that is not set is told with its path."""
    visited = 0

    def walk(value: object, path: Path) -> object:
        nonlocal visited
        visited += 1
        if len(path) > _DEPTH or visited > _VALUES:
            raise ConfigError([f"{problems.place(())}: is nested too deeply, or comes to too much by its aliases."])
        if isinstance(value, str):
            return _filled(value, environment, path, problems)
        if isinstance(value, list):
            return [walk(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, dict):
            return {name: walk(item, (*path, str(name))) for name, item in value.items()}
        return value

    return {name: walk(value, (str(name),)) for name, value in data.items()}


def _filled(text: str, environment: Environment, path: Path, problems: Problems) -> str:
    names = _VARIABLE.findall(text)
    for name in names:
        if not VARIABLE_NAME.match(name):
            problems.error(path, "has a ${...} that is no variable's name.")
        elif name not in environment:
            problems.error(
                path, f"{shown(f'${{{name}}}')} is not set in the environment.", name, environment.alike(name)
            )
    if not names or problems.under(path):
        return text
    return Substituted(_VARIABLE.sub(lambda match: environment[match[1]], text), text)


def duration_us(value: str | int) -> int | None:
    """Microseconds in `500ms`, `30s`, `5m`, `24h`, `1h30m` or `0`; None: it is no duration."""
    text = str(value)
    if text == "0":
        return 0
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return int(sum(Decimal(number) * _UNITS_US[unit] for number, unit in parts))


def share(value: str | float) -> float | None:
    """The part of a whole in `0.2` or `20%`. None: it is no share."""
    match = _SHARE.fullmatch(str(value))
    return float(match[1]) / (100 if match[2] else 1) if match else None


def bounded_us(value: str | int | None, path: Path, problems: Problems, *, least_us: int, most_us: int) -> int | None:
    """Microseconds within bounds; None where nothing was said, or after telling what is wrong."""
    if value is None:
        return None
    time_us = duration_us(value)
    if time_us is None:
        unit = f' Did you mean "{value}s"?' if isinstance(value, int) and value > 0 else ""
        problems.error(path, f"{shown(value)} is no duration such as 500ms, 30s, 5m or 24h.{unit}")
    elif time_us < least_us:
        told = "is no time. It must be longer than 0s." if least_us < SECOND_US else "is too short. It is at least 1s."
        problems.error(path, f"{shown(value)} {told}")
    elif time_us > most_us:
        problems.error(path, f"{shown(value)} is too long. It is at most {most_us // (3600 * SECOND_US)}h.")
    else:
        return time_us
    return None


def size_bytes(value: str | int) -> int | None:
    """Bytes in `100MiB`, `64KB`, `1G` or a bare number; KiB is 1024, KB and K are 1000. None: it is no size."""
    match = _SIZE.fullmatch(str(value))
    if match is None:
        return None
    unit = (match[2] or "").upper()
    base = 1024 if "I" in unit else 1000
    return int(Decimal(match[1]) * base ** _POWERS[unit.removesuffix("B").removesuffix("I")])


def bounded_size(value: str | int | None, path: Path, problems: Problems, default: int, most: int) -> int:
    """Bytes, at least one and at most so many; the default where nothing is said, and where it is wrong."""
    if value is None:
        return default
    size = size_bytes(value)
    if size is None or not 0 < size <= most:
        at_most = f"{most // 1024**2}MiB" if most < 1024**3 else f"{most // 1024**3}GiB"
        problems.error(path, f"{shown(value)} is no size. It is such as 64KiB, 1MiB or 1GiB, at most {at_most}.")
        return default
    return size
