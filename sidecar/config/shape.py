"""Builds the structs of `schema.py` from plain data and tells every field that has the wrong shape.

`msgspec.convert` stops at the first error and calls a mapping's key `[...]`; here each error has its whole path, and
what is sound is still built, so that one run tells all that is wrong. What is broken is left out: a field, an entry of
a mapping, a whole list (its places are in the paths of errors yet to come).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import inspect

from sidecar.config.problems import Path, Problems, Substituted, shown
from sidecar.config.schema import (
    ClientEntry,
    ConnectionsEntry,
    CooldownEntry,
    Document,
    KeyEntry,
    LimitEntry,
    PoolEntry,
    TargetEntry,
    TlsEntry,
)

_BROKEN = object()
_WHOLE = re.compile(r"[+-]?\d{1,18}\Z", re.ASCII)
_EXPECTED: dict[type[inspect.Type], str] = {
    inspect.StrType: "a text",
    inspect.IntType: "a whole number",
    inspect.FloatType: "a number",
    inspect.BoolType: "true or false",
    inspect.ListType: "a list",
    inspect.DictType: "a mapping",
    inspect.StructType: "a mapping",
}

_FOUND: tuple[tuple[type, str], ...] = (  # the first that fits: Python's bool is an int
    (type(None), "nothing"),
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a decimal number"),
    (str, "a text"),
    (list, "a list"),
    (Mapping, "a mapping"),
)
_QUOTE = " Put it in quotes."
_SWITCHES = {"yes": "true", "on": "true", "no": "false", "off": "false"}  # as YAML 1.1 read them
_SUCH: dict[type, str] = {  # an example of what is most often written otherwise
    ClientEntry: '{id: web, token: "${PROXY_API_KEY}"}',
    ConnectionsEntry: "{max: 100}",
    CooldownEntry: "{default: 60s, max: 1h}",
    KeyEntry: '{id: a, secret: "${OPENAI_API_KEY}"}',
    LimitEntry: "{requests: 15, per: minute}",
    PoolEntry: "{provider: openai, keys: {from_env: OPENAI_API_KEY}}",
    TargetEntry: "{pool: chat, model: gpt-4o}",
    TlsEntry: "{cert: tls.crt, key: tls.key}",
}


def document(data: Mapping[object, object], problems: Problems) -> Document:
    """The whole file; top-level fields that are broken are told and None."""
    fields = _fields(_DOCUMENT, data, (), problems)
    made = _DOCUMENT.cls(**fields)
    assert isinstance(made, Document)
    return made


def field_names() -> tuple[str, ...]:
    """The top-level fields."""
    return tuple(field.name for field in _DOCUMENT.fields)


def is_text(name: str) -> bool:
    """Whether a top-level field takes text, and no mapping, so that a variable's value needs no reading as YAML."""
    kind = next(field.type for field in _DOCUMENT.fields if field.name == name)
    return isinstance(_fitting(kind, ""), inspect.StrType) and _fitting(kind, {}) is None


def _build(kind: inspect.Type, value: object, path: Path, problems: Problems) -> object:
    """The value as the schema's type, or `_BROKEN` after telling why."""
    fit = _fitting(kind, value)
    if isinstance(fit, inspect.StructType) and isinstance(value, Mapping):
        fields = _fields(fit, value, path, problems)
        whole = all(field.name in fields for field in fit.fields if field.required)
        return fit.cls(**fields) if whole else _BROKEN
    if isinstance(fit, inspect.DictType) and isinstance(value, Mapping):
        return _entries(fit, value, path, problems)
    if isinstance(fit, inspect.ListType) and isinstance(value, list):
        built = [_build(fit.item_type, item, (*path, index), problems) for index, item in enumerate(value)]
        return _BROKEN if _BROKEN in built else built
    if fit is None:
        problems.error(path, f"expected {_expected(kind)}, found {found(value)}.{_advice(kind, value)}")
    return _BROKEN if problems.under(path) else _scalar(fit, value)


def _scalar(kind: inspect.Type | None, value: object) -> object:
    """The value itself; a variable's text is read as the number, or true or false, that the schema wants."""
    if isinstance(value, Substituted) and isinstance(kind, inspect.IntType):
        return int(value)
    return value == "true" if isinstance(value, Substituted) and isinstance(kind, inspect.BoolType) else value


def _fields(
    struct: inspect.StructType, data: Mapping[object, object], path: Path, problems: Problems
) -> dict[str, object]:
    """Each sound field of a struct that was said, built; unknown and missing ones are told as the file calls them."""
    kinds = {field.encode_name: field for field in struct.fields}
    for name in data:
        if name not in kinds:
            problems.error((*path, str(name)), "there is no such field.", str(name), kinds)
    for name, field in kinds.items():
        if field.required and data.get(name) is None:
            problems.error((*path, name), "is missing.")
    said = {name: data[name] for name in kinds if data.get(name) is not None}
    built = {name: _build(kinds[name].type, value, (*path, name), problems) for name, value in said.items()}
    return {kinds[name].name: value for name, value in built.items() if value is not _BROKEN}


def _entries(
    kind: inspect.DictType, data: Mapping[object, object], path: Path, problems: Problems
) -> dict[str, object]:
    """The entries of a mapping with names of the user's own; broken ones are left out."""
    built = {}
    for name, value in data.items():
        if isinstance(name, str):
            built[name] = _build(kind.value_type, value, (*path, name), problems)
        else:
            problems.error((*path, str(name)), f"a name must be a text, found {found(name)}.{_QUOTE}")
    return {name: value for name, value in built.items() if value is not _BROKEN}


def _options(kind: inspect.Type) -> tuple[inspect.Type, ...]:
    options = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    return tuple(option for option in options if not isinstance(option, inspect.NoneType))


def _fitting(kind: inspect.Type, value: object) -> inspect.Type | None:
    return next((option for option in _options(kind) if _fits(option, value)), None)


def _fits(kind: inspect.Type, value: object) -> bool:
    """A variable's text also stands for a number, or for true or false, where the schema wants one."""
    match kind:
        case inspect.StrType():
            return isinstance(value, str)
        case inspect.BoolType():
            return isinstance(value, bool) or (isinstance(value, Substituted) and value in {"true", "false"})
        case inspect.IntType():
            text = isinstance(value, Substituted) and _WHOLE.match(value) is not None
            return text or (isinstance(value, int) and not isinstance(value, bool))
        case inspect.FloatType():
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case inspect.ListType():
            return isinstance(value, list)
        case _:
            return isinstance(kind, inspect.AnyType) or isinstance(value, Mapping)


def _expected(kind: inspect.Type) -> str:
    return " or ".join(_EXPECTED[type(option)] for option in _options(kind))


def found(value: object) -> str:
    """What a value is, in the file's words; its text only where that cannot be a secret."""
    if isinstance(value, Substituted):
        return f"the text of {shown(value)}"
    return next((words for kind, words in _FOUND if isinstance(value, kind)), f"a value of type {type(value).__name__}")


def _advice(kind: inspect.Type, value: object) -> str:
    if _fitting(kind, "") is not None:
        return _QUOTE if isinstance(value, (bool, int, float)) else ""
    example = _example(kind, value)
    return f" Write it as {example}." if example else ""


def _example(kind: inspect.Type, value: object) -> str:
    """How the first of its options looks that has an example; "": none has."""
    for option in _options(kind):
        if isinstance(option, inspect.StructType) and option.cls in _SUCH:
            return _SUCH[option.cls]
        if isinstance(option, inspect.ListType) and (item := _example(option.item_type, value)):
            return f"[{item}]"
        if isinstance(option, inspect.BoolType):
            return _SWITCHES.get(str(value).lower(), "")
    return ""


def _struct(kind: type) -> inspect.StructType:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return info


_DOCUMENT = _struct(Document)
