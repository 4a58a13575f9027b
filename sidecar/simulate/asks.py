"""What a call asks of the form of its answer, in each dialect: to call a function that it offers, or JSON by a schema.

Of the functions that are offered the first is called, or the one that the call insists on, until its result is the
last thing that was said. What a schema leaves open is filled with `simulated`, 1 and true.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from sidecar.simulate.calls import GEMINI, Call, Data

PIECE = 8  # characters of JSON that are written at once


@dataclass(frozen=True, slots=True)
class Form:
    """What is written instead of words: the arguments of a function, or a document where none is named."""

    function: str
    value: Any

    def pieces(self) -> tuple[str, ...]:
        """Its JSON as a provider streams it: cut anywhere."""
        text = orjson.dumps(self.value).decode()
        return tuple(text[at : at + PIECE] for at in range(0, len(text), PIECE))


def form(call: Call) -> Form | None:
    """None where the call wants words, or asks in a way that no dialect has."""
    found = GEMINI.fullmatch(call.operation) if call.dialect == "gemini" else None
    read = _READ.get(found["verb"] if found else call.operation)
    if read is None or call.data is None:
        return None
    try:
        return _form(read(call.data))
    except (AttributeError, IndexError, KeyError, TypeError):
        return None


def _form(asked: _Asked) -> Form | None:
    name = next((one for one in asked.offered if asked.choice in {"", one}), "")
    if name and not asked.answered:
        return Form(name, fill(asked.offered[name]))
    return None if asked.schema is None else Form("", fill(asked.schema))


def fill(schema: Data, root: Data | None = None) -> Any:
    """A value that the schema allows: JSON Schema as SDKs write it, or Google's, whose types are upper case."""
    root = schema if root is None else root
    if ref := schema.get("$ref"):
        return fill(root["$defs"][ref.rpartition("/")[2]], root)
    if either := schema.get("anyOf") or schema.get("oneOf"):
        return fill(either[0], root)
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object").lower()
    if kind == "object":
        return {name: fill(inner, root) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [fill(schema["items"], root)]
    return {"string": "simulated", "integer": 1, "number": 1, "boolean": True}.get(kind)


# --- where each dialect says so ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asked:
    offered: dict[str, Data]  # by name, the schemas of the functions' arguments
    choice: str  # the name that is insisted on; "": any; "none": none
    answered: bool  # the last thing that was said is what a function came to
    schema: Data | None  # of the text


def _chat(data: Data) -> _Asked:
    functions = [tool["function"] for tool in data.get("tools") or () if tool["type"] == "function"]
    offered = {one["name"]: one.get("parameters") or {} for one in functions}
    schema = ((data.get("response_format") or {}).get("json_schema") or {}).get("schema")
    return _Asked(offered, _choice(data), data["messages"][-1]["role"] == "tool", schema)


def _responses(data: Data) -> _Asked:
    functions = [tool for tool in data.get("tools") or () if tool["type"] == "function"]
    offered = {one["name"]: one.get("parameters") or {} for one in functions}
    given = data["input"]
    answered = isinstance(given, list) and given[-1].get("type") == "function_call_output"
    return _Asked(offered, _choice(data), answered, ((data.get("text") or {}).get("format") or {}).get("schema"))


def _messages(data: Data) -> _Asked:
    offered = {tool["name"]: tool["input_schema"] for tool in data.get("tools") or () if "input_schema" in tool}
    last = data["messages"][-1]["content"]
    answered = isinstance(last, list) and any(block["type"] == "tool_result" for block in last)
    return _Asked(
        offered, _choice(data), answered, ((data.get("output_config") or {}).get("format") or {}).get("schema")
    )


def _choice(data: Data) -> str:
    """OpenAI's and Anthropic's: a word, or an object with a function's name in it or in its `function`."""
    choice = data.get("tool_choice") or ""
    if isinstance(choice, dict):
        named = choice.get("function") or choice
        return "none" if choice["type"] == "none" else str(named.get("name", ""))
    return "none" if choice == "none" else ""


def _generate(data: Data) -> _Asked:
    functions = [one for tool in data.get("tools") or () for one in _spelt(tool, "functionDeclarations") or ()]
    offered = {one["name"]: _spelt(one, "parametersJsonSchema") or one.get("parameters") or {} for one in functions}
    calling = _spelt(_spelt(data, "toolConfig") or {}, "functionCallingConfig") or {}
    choice = "none" if calling.get("mode") == "NONE" else (_spelt(calling, "allowedFunctionNames") or [""])[0]
    answered = any(_spelt(part, "functionResponse") for part in data["contents"][-1]["parts"])
    config = _spelt(data, "generationConfig") or {}
    return _Asked(offered, choice, answered, _spelt(config, "responseJsonSchema") or _spelt(config, "responseSchema"))


def _spelt(data: Data, name: str) -> Any:
    """Google takes each name in both spellings, and its own SDK mixes them."""
    return data.get(name) or data.get(re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name))


_READ: dict[str, Callable[[Data], _Asked]] = {
    "chat/completions": _chat,
    "responses": _responses,
    "messages": _messages,
    "generateContent": _generate,
    "streamGenerateContent": _generate,
}
