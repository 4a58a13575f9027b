"""Every method of an SDK that makes a request, found by looking at the SDK, and what it can be called with."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_REQUESTS = frozenset({"_get", "_post", "_put", "_patch", "_delete", "_get_api_list"})


@dataclass(frozen=True)
class Method:
    """One method, by its name from the client on: `beta.threads.runs.create`."""

    name: str
    call: Callable[..., Any]

    def arguments(self, ids: Callable[[str], str]) -> dict[str, Any]:
        """What it requires; `ids`: a thing's id by the name of the parameter that wants it."""
        parameters = inspect.signature(self.call).parameters.values()
        return {one.name: _value(one.name, str(one.annotation), ids) for one in parameters if _required(one)}


def methods(client: object, name: str = "") -> Iterator[Method]:
    """Those of the client's resources, and theirs."""
    for attribute in sorted(dir(type(client))):
        if attribute.startswith(("_", "with_")):
            continue
        value = getattr(client, attribute)
        if hasattr(value, "_client") and not callable(value):
            yield from methods(value, f"{name}{attribute}.")
        elif inspect.ismethod(value) and _REQUESTS & {*_plain(value).__code__.co_names}:
            yield Method(f"{name}{attribute}", value)


def _plain(method: Any) -> Any:
    """The function that decorators hide."""
    return inspect.unwrap(method.__func__)


def _required(one: inspect.Parameter) -> bool:
    return one.default is inspect.Parameter.empty and one.kind is not inspect.Parameter.VAR_KEYWORD


def _value(name: str, annotation: str, ids: Callable[[str], str]) -> Any:
    if name in {"model", "model_id"}:
        return "gpt-4o"
    if name.endswith("_ids"):
        return [ids(name.removesuffix("s"))]
    if name.endswith("_id"):
        return ids(name)
    for kind, value in _BY_KIND:
        if kind.search(annotation):
            return value
    literal = re.search(r"Literal\[['\"]([^'\"]+)", annotation)
    return literal[1] if literal else "x" if re.search(r"\bstr\b", annotation) else {"type": "x"}


_FILE = ("a.bin", b"\x00\xff\r\n--", "application/octet-stream")
# The first that fits an annotation.
_BY_KIND: tuple[tuple[re.Pattern[str], Any], ...] = (
    (re.compile(r"(?:SequenceNotStr|List|Iterable)\[.*FileTypes"), [_FILE]),
    (re.compile(r"FileTypes"), _FILE),
    (re.compile(r"SequenceNotStr|Iterable|List\["), []),
    (re.compile(r"Dict\["), {}),
    (re.compile(r"\A(?!.*\bstr\b).*\bint\b"), 1),
)
