"""Which strings of a body may say what the call uses: all but the words and the data of its app.

Data are what a tool was called with and what it answered, what describes a tool or an answer, and what an app notes for
itself: an id there is for that tool, or for nobody. OpenAI's `FunctionCallOutput.output`, `FunctionTool.parameters`,
`metadata` and vector stores' `attributes`; Anthropic's `ToolUseBlock.input`, `Tool.input_schema` and `input_examples`;
Google's `FunctionCall.args`, `FunctionResponse.response`, `FunctionDeclaration.parametersJsonSchema` and interactions'
`FunctionResultContent.result`, as their SDKs declare them. A field that nobody knew may name a thing.
"""

from __future__ import annotations

import re

import msgspec

from sidecar.providers.dialect import Body
from sidecar.providers.jsonhead import lenient, without_bom

_WORDS = frozenset({
    "text", "content", "output", "result", "input", "prompt", "instructions", "system", "system_instruction", "query",
    "title", "description", "filename", "display_name", "displayName", "custom_id", "user", "safety_identifier",
    "prompt_cache_key", "stdout", "stderr", "logs",
})  # fmt: skip
_DATA = frozenset({
    "metadata", "custom_metadata", "customMetadata", "attributes", "filters", "arguments", "args", "parameters",
    "parametersJsonSchema", "parameters_json_schema", "responseSchema", "response_schema", "responseJsonSchema",
    "response_json_schema", "schema", "json_schema", "input_schema", "output_schema", "input_examples",
})  # fmt: skip
# Fields of that name elsewhere are the call's own.
_OF_TOOLS, _OF_CALLS = frozenset({"input", "response", "result"}), ("tool_use", "function_result")
_FUNCTIONS = frozenset({"functionResponse", "function_response"})

_SLICE = 1024 * 1024
MOST_VALUES = 1_000_000  # of a body that is decoded: each takes some 60 bytes


def strings(body: Body) -> list[str] | None:
    """Those of JSON in their order, some of them perhaps no name of anything; None for what cannot be read."""
    if len(body) > _SLICE and values(body) > MOST_VALUES:
        return None
    found: list[str] = []
    try:
        _gather("", lenient(msgspec.json.decode, without_bom(body)), found)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found


def may_name(field: str) -> bool:
    """Whether the value of a form's field may: its name is a path, `input_reference[file_id]`."""
    keys = [key for key in re.split(r"[\[\].]+", field) if key]
    return _DATA.isdisjoint(keys) and _WORDS.isdisjoint(keys[-1:])


def values(body: Body) -> int:
    """How many there are, or more."""
    slices = (bytes(body[at : at + _SLICE]) for at in range(0, len(body), _SLICE))
    return sum(len(part) - len(part.translate(None, b",[{")) for part in slices)


def _gather(key: str, value: object, found: list[str]) -> None:
    """Those below a key; an item of a list has that of the list."""
    if isinstance(value, str):
        if key not in _WORDS:
            found.append(value)
    elif isinstance(value, list):
        for one in value:
            _gather(key, one, found)
    elif isinstance(value, dict):
        for name, one in value.items():
            if name not in _DATA and not (name in _OF_TOOLS and isinstance(one, dict) and _is_of_tool(key, value)):
                _gather(name, one, found)


def _is_of_tool(key: str, value: dict[str, object]) -> bool:
    """Whether it is what a tool was called with, or what it answered: of each kind the object around it."""
    return key in _FUNCTIONS or str(value.get("type")).endswith(_OF_CALLS)
