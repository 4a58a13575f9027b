"""One item or field of a YAML or JSON text added, replaced or taken out: comments, order and layout stay as their
author left them.

The places come from the parser's marks, so no second reading of YAML is needed; whoever calls it parses what comes out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import yaml

from sidecar.config.problems import Path
from sidecar.config.replacing import line_end

Value = str | int | Sequence["Value"] | Mapping[str, "Value"]


def with_item(text: str, path: Path, item: Mapping[str, Value]) -> str | None:
    """The text with the item behind the last one of the list at `path`; None where there is no list with an item."""
    found = _found(text, path)
    if not isinstance(found, yaml.SequenceNode) or not found.value:
        return None
    return _in_flow(text, found, item) if found.flow_style else _in_block(text, found, item)


def with_field(text: str, path: Path, name: str, value: Value, instead_of: str = "") -> str | None:
    """The text whose mapping at `path` says `name: value`, in the place of the field `instead_of` or of its own, or
    behind the last one. None where there is no mapping with a field."""
    found = _found(text, path)
    if not isinstance(found, yaml.MappingNode) or not found.value:
        return None
    first = found.value[0][0].start_mark.index
    quoted = text[first : first + 1] == '"'
    new = f"{json.dumps(name) if quoted else name}: {_written(value, quoted=quoted)}"
    for key, old in found.value:
        if key.value == (instead_of or name):
            return text[: key.start_mark.index] + new + text[_end(old) :]
    at = _end(found.value[-1][1])
    if found.flow_style:
        return f"{text[:at]}, {new}{text[at:]}"
    column = found.value[0][0].start_mark.column
    return _with_lines(text, len(text[:at].rstrip()), column, [" " * column + new])


def with_list(text: str, name: str, item: Mapping[str, Value]) -> str | None:
    """The text with a list of this one item at its top, where there is none by this name, or one without an item."""
    root = _found(text, ())
    if not isinstance(root, yaml.MappingNode):
        return None
    if root.flow_style or name in [key.value for key, _ in root.value]:
        return with_field(text, (), name, [item])
    end = line_end(text)
    return text + ("" if text.endswith("\n") else end) + f"{name}:{end}  - {_written(item)}{end}"


def without(text: str, path: Path) -> str | None:
    """The text without the item or field at `path`; None where it is not there, or alone: then its list would be none.

    What is said behind it in its line goes with it, and lines of comments that are indented deeper; those above stay.
    """
    parent, name = _found(text, path[:-1]), path[-1]
    spans = _spans(parent)
    at = next((at for at, (step, _, _) in enumerate(spans) if step == name), None)
    if at is None or len(spans) == 1:
        return None
    _, start, end = spans[at]
    line = text.rfind("\n", 0, start) + 1
    sign = "-" if isinstance(parent, yaml.SequenceNode) else ""
    if isinstance(parent, yaml.CollectionNode) and not parent.flow_style and text[line:start].strip() == sign:
        return text[:line] + text[_below(text, len(text[:end].rstrip()), parent.start_mark.column) :]
    if at + 1 < len(spans):
        return text[:start] + text[spans[at + 1][1] :]
    return text[: spans[at - 1][2]] + text[end:]


def _spans(node: yaml.Node | None) -> list[tuple[str | int, int, int]]:
    """Of each item or field of a collection its place or name, where it begins and where it ends."""
    if isinstance(node, yaml.SequenceNode):
        return [(at, item.start_mark.index, _end(item)) for at, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return [(key.value, key.start_mark.index, _end(value)) for key, value in node.value]
    return []


def _found(text: str, path: Path) -> yaml.Node | None:
    return _at(yaml.compose(text, Loader=yaml.SafeLoader), path)


def _at(node: yaml.Node | None, path: Path) -> yaml.Node | None:
    for step in path:
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
        elif isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if key.value == step), None)
        else:
            return None
    return node


def _in_block(text: str, found: yaml.SequenceNode, item: Mapping[str, Value]) -> str:
    """A line, or as many as the last item has fields, behind the line where that one ends."""
    last = found.value[-1]
    indent = " " * found.start_mark.column
    fields = [f"{name}: {_written(value)}" for name, value in item.items()]
    if isinstance(last, yaml.MappingNode) and not last.flow_style:
        lines = [f"{indent}{'  ' if at else '- '}{field}" for at, field in enumerate(fields)]
    else:
        lines = [f"{indent}- {{{', '.join(fields)}}}"]
    return _with_lines(text, len(text[: _end(last)].rstrip()), found.start_mark.column, lines)


def _with_lines(text: str, at: int, column: int, lines: Sequence[str]) -> str:
    """The text with these lines below the place, and below the comments there that are indented like a field."""
    at, end = _below(text, at, column), line_end(text)
    head = text[:at] if text[:at].endswith("\n") else text[:at] + end
    return head + "".join(line + end for line in lines) + text[at:]


def _below(text: str, at: int, column: int) -> int:
    """The start of the line behind this place, and behind the comments there that are indented like a field."""
    while (line := text.find("\n", at)) >= 0:
        following = text[line + 1 :].partition("\n")[0]
        if not following.lstrip().startswith("#") or len(following) - len(following.lstrip()) <= column:
            return line + 1
        at = line + 1
    return len(text)


def _in_flow(text: str, found: yaml.SequenceNode, item: Mapping[str, Value]) -> str:
    """Before the closing bracket: on a line of its own where the last item has one."""
    last = found.value[-1]
    start, at, close = last.start_mark.index, _end(last), found.end_mark.index
    new = _written(item, quoted=text[start : start + 2] == '{"' or text.lstrip().startswith("{"))
    before = text[text.rfind("\n", 0, start) + 1 : start]
    line = text.find("\n", at, close)
    if before.strip() or line < 0:
        return f"{text[:at]}, {new}{text[at:]}"
    comma = text[at:line].lstrip().startswith(",")
    head = text[: line + 1] if comma else f"{text[:at]},{text[at : line + 1]}"
    return f"{head}{before}{new}{',' if comma else ''}{line_end(text)}{text[line + 1 :]}"


def _written(value: Value, *, quoted: bool = False) -> str:
    """A value on one line; `quoted`: as JSON."""
    if quoted or isinstance(value, int):
        return json.dumps(value)
    if isinstance(value, str):
        return _scalar(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_written(one)}" for name, one in value.items()) + "}"
    return "[" + ", ".join(_written(one) for one in value) + "]"


def _scalar(value: str) -> str:
    """A value as YAML: quoted, unless no reader could take it for anything but a text."""
    plain = value.replace("-", "").replace("_", "").isalnum() and value[0].isalpha()
    return value if plain and value.lower() not in _WORDS else json.dumps(value)


_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def _end(node: yaml.Node) -> int:
    """Where the text of a node ends. The parser's mark of a block lies behind the comments that follow it."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return int(node.end_mark.index)
