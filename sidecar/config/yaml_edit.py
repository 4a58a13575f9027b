"""An item at the end of a list of a YAML or JSON text: comments, order and layout stay as their author left them.

The places come from the parser's marks, so no second reading of YAML is needed; whoever calls it parses what comes out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import yaml

from sidecar.config.problems import Path
from sidecar.config.replacing import line_end


def with_item(text: str, path: Path, item: Mapping[str, str]) -> str | None:
    """The text with the item behind the last one of the list at `path`; None where there is no list with an item."""
    found = _at(yaml.compose(text, Loader=yaml.SafeLoader), path)
    if not isinstance(found, yaml.SequenceNode) or not found.value:
        return None
    return _in_flow(text, found, item) if found.flow_style else _in_block(text, found, item)


def _at(node: yaml.Node | None, path: Path) -> yaml.Node | None:
    for step in path:
        if not isinstance(node, yaml.MappingNode):
            return None
        node = next((value for key, value in node.value if key.value == step), None)
    return node


def _in_block(text: str, found: yaml.SequenceNode, item: Mapping[str, str]) -> str:
    """A line, or as many as the last item has fields, behind the line where that one ends."""
    last, end = found.value[-1], line_end(text)
    indent = " " * found.start_mark.column
    fields = [f"{name}: {_scalar(value)}" for name, value in item.items()]
    if isinstance(last, yaml.MappingNode) and not last.flow_style:
        lines = [f"{indent}{'  ' if at else '- '}{field}" for at, field in enumerate(fields)]
    else:
        lines = [f"{indent}- {{{', '.join(fields)}}}"]
    at = _below(text, len(text[: _end(last)].rstrip()), found.start_mark.column)
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


def _in_flow(text: str, found: yaml.SequenceNode, item: Mapping[str, str]) -> str:
    """Before the closing bracket: on a line of its own where the last item has one."""
    last = found.value[-1]
    start, at, close = last.start_mark.index, _end(last), found.end_mark.index
    new = json.dumps(dict(item)) if text[start : start + 2] == '{"' or text.lstrip().startswith("{") else _flow(item)
    before = text[text.rfind("\n", 0, start) + 1 : start]
    line = text.find("\n", at, close)
    if before.strip() or line < 0:
        return f"{text[:at]}, {new}{text[at:]}"
    comma = text[at:line].lstrip().startswith(",")
    head = text[: line + 1] if comma else f"{text[:at]},{text[at : line + 1]}"
    return f"{head}{before}{new}{',' if comma else ''}{line_end(text)}{text[line + 1 :]}"


def _flow(item: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name}: {_scalar(value)}" for name, value in item.items()) + "}"


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
