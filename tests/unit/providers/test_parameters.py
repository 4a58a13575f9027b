"""What a target sets, caps, adds and removes, in the words of each dialect, and nothing else of a body."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.configured import Parameters
from sidecar.providers import jsonhead
from sidecar.providers.parameters import amount, edits


def made(
    fixed: dict[str, Any] | None = None,
    default: dict[str, Any] | None = None,
    most: dict[str, float] | None = None,
    removed: tuple[str, ...] = (),
) -> Parameters:
    def texts(values: dict[str, Any] | None) -> tuple[tuple[str, bytes], ...]:
        return tuple((name, json.dumps(value).encode()) for name, value in (values or {}).items())

    return Parameters(texts(fixed), texts(default), tuple((most or {}).items()), removed)


def written(parameters: Parameters, body: bytes, operation: str = "chat/completions", dialect: str = "openai") -> bytes:
    return b"".join(jsonhead.edit(body, edits(parameters, dialect, operation)))


def test_what_is_set_holds_whatever_was_said() -> None:
    parameters = made(fixed={"temperature": 0.5, "stop": None})
    assert (
        written(parameters, b'{ "temperature" : 2, "x": [1, 2] }')
        == b'{"stop":null, "temperature" : 0.5, "x": [1, 2] }'
    )
    assert written(parameters, b"{}") == b'{"temperature":0.5,"stop":null}'


def test_a_default_is_for_who_says_nothing() -> None:
    """A null says nothing."""
    parameters = made(default={"temperature": 0.5})
    assert written(parameters, b'{"temperature": 1}') == b'{"temperature": 1}'
    assert written(parameters, b'{"a": 1,"temperature": null}') == b'{"temperature":0.5,"a": 1}'
    assert written(parameters, b'{"a": 1}') == b'{"temperature":0.5,"a": 1}'


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ("100", "100"),
        ("4096", "4096"),
        ("4097", "4096"),
        ("1e9", "4096"),
        ('"99999"', "4096"),
        ("null", "null"),
        ("[5000]", "[5000]"),
        ("true", "true"),
        ("-1", "4096"),  # "no bound" to some servers
        ("-1.5", "4096"),
    ],
)
def test_a_max_lowers_what_is_more(said: str, sent: str) -> None:
    body = b'{"model":"m","max_tokens":%s,"messages":[{"max_tokens":9999}]}'
    assert written(made(most={"max_tokens": 4096}), body % said.encode()) == body % sent.encode()


def test_a_max_alone_adds_nothing_and_with_a_default_bounds_everybody() -> None:
    capped = made(most={"max_tokens": 100})
    assert written(capped, b'{"model":"m"}') == b'{"model":"m"}'
    both = made(most={"max_completion_tokens": 100}, default={"max_tokens": 50})
    assert written(both, b'{"model":"m"}') == b'{"max_tokens":50,"model":"m"}'
    assert written(both, b'{"max_completion_tokens":900}') == b'{"max_completion_tokens":100}'


def test_a_max_of_what_may_be_negative_lets_it_be() -> None:
    assert written(made(most={"frequency_penalty": 1}), b'{"frequency_penalty":-2}') == b'{"frequency_penalty":-2}'


@pytest.mark.parametrize(
    ("dialect", "operation", "body", "sent"),
    [
        ("gemini", "models/g:generateContent", b'{"generationConfig":null}', {"maxOutputTokens": 50}),
        ("gemini", "models/g:generateContent", b'{"a":1,"generation_config":null}', {"maxOutputTokens": 50}),
        (
            "gemini",
            "models/g:generateContent",
            b'{"generationConfig":{"maxOutputTokens":null}}',
            {"maxOutputTokens": 50},
        ),
        (
            "openai",
            "chat/completions",
            b'{"max_tokens":null,"max_completion_tokens":900}',
            {"max_completion_tokens": 100},
        ),
        ("openai", "chat/completions", b'{"max_tokens":null,"max_completion_tokens":null}', {"max_tokens": 50}),
    ],
)
def test_nobody_escapes_a_default_and_its_max_by_a_null(
    dialect: str, operation: str, body: bytes, sent: dict[str, Any]
) -> None:
    """Nor is a name added beside another that stands for it: providers refuse both at once."""
    found = json.loads(written(made(most={"max_tokens": 100}, default={"max_tokens": 50}), body, operation, dialect))
    found.pop("a", None)
    assert (found["generationConfig"] if dialect == "gemini" else found) == sent
    assert dialect != "gemini" or list(found) == ["generationConfig"]


def test_what_is_set_holds_where_a_null_stands_in_its_way() -> None:
    effort = made(fixed={"reasoning.effort": "low"})
    assert written(effort, b'{"reasoning":null,"a":1}') == b'{"reasoning":{"effort":"low"},"a":1}'
    assert written(effort, b'{"reasoning":null}') == b'{"reasoning":{"effort":"low"}}'


@pytest.mark.parametrize(
    ("parameters", "sent"),
    [
        (made(most={"max_tokens": 100}), [{"model": "b", "max_tokens": 100}, {"model": "c"}]),
        (made(fixed={"max_tokens": 50}), [{"model": "b", "max_tokens": 50}, {"model": "c"}]),
        (made(removed=("max_tokens",)), [{"model": "b"}, {"model": "c"}]),
    ],
)
def test_a_model_that_stands_in_for_another_may_have_no_more(parameters: Parameters, sent: list[Any]) -> None:
    body = b'{"max_tokens":9,"fallbacks":[{"model":"b","max_tokens":9999},{"model":"c"}]}'
    assert json.loads(written(parameters, body, "messages", "anthropic"))["fallbacks"] == sent
    assert json.loads(written(parameters, body))["fallbacks"][0]["max_tokens"] == 9999


def test_duplicates_are_all_changed() -> None:
    """Readers differ in which one they take."""
    assert written(made(most={"n": 1}), b'{"n":5,"a":0,"n":7}') == b'{"n":1,"a":0,"n":1}'
    assert written(made(removed=("n",)), b'{"n":5,"a":0,"n":7}') == b'{"a":0}'


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b'{"a":1,"b":2,"c":3}', b'{"c":3}'),
        (b'{"c":3, "a":1, "b":2 }', b'{"c":3 }'),
        (b'{"a":1}', b"{}"),
        (b'{ "a" : {"x":1} , "b":2 }', b"{  }"),
        (b'{"c":3,"a":1,"d":4,"b":2,"e":5}', b'{"c":3,"d":4,"e":5}'),
        (b'{"c":{"a":1}}', b'{"c":{"a":1}}'),
    ],
)
def test_what_is_removed_takes_its_comma_along(body: bytes, sent: bytes) -> None:
    assert written(made(removed=("a", "b")), body) == sent


def test_removed_and_added_at_once_is_still_json() -> None:
    parameters = made(fixed={"x.y.z": [1], "x.w": 2, "k": "v"}, removed=("a",))
    assert json.loads(written(parameters, b'{"a":1}')) == {"x": {"y": {"z": [1]}, "w": 2}, "k": "v"}
    assert json.loads(written(parameters, b'{"x":{"y":{"q":0}},"a":1}')) == {
        "x": {"y": {"z": [1], "q": 0}, "w": 2},
        "k": "v",
    }


def test_nothing_is_put_into_what_is_no_object() -> None:
    body = b'{"reasoning":"high","x":[{"y":1}]}'
    assert written(made(fixed={"reasoning.effort": "low", "x.y": 2}), body) == body


LIMITED = made(fixed={"max_tokens": 7, "top_p": 0.9})


@pytest.mark.parametrize(
    ("dialect", "operation", "body", "sent"),
    [
        ("openai", "chat/completions", {"max_completion_tokens": 50}, {"max_completion_tokens": 7, "top_p": 0.9}),
        ("openai", "chat/completions", {}, {"max_tokens": 7, "top_p": 0.9}),
        ("openai", "completions", {"max_tokens": 50}, {"max_tokens": 7, "top_p": 0.9}),
        ("openai", "responses", {}, {"max_output_tokens": 7, "top_p": 0.9}),
        ("openai", "embeddings", {"input": "a"}, {"input": "a"}),
        ("anthropic", "messages", {"max_tokens": 50}, {"max_tokens": 7, "top_p": 0.9}),
        ("anthropic", "messages/count_tokens", {"a": 1}, {"a": 1}),
        ("gemini", "models/g:generateContent", {}, {"generationConfig": {"maxOutputTokens": 7, "topP": 0.9}}),
        (
            "gemini",
            "models/g:streamGenerateContent",
            {"generation_config": {"max_output_tokens": 50, "top_p": 1}},
            {"generation_config": {"max_output_tokens": 7, "top_p": 0.9}},
        ),
        ("gemini", "models/g:countTokens", {"a": 1}, {"a": 1}),
        ("gemini", "models/g:embedContent", {"a": 1}, {"a": 1}),
    ],
)
def test_known_parameters_go_by_the_names_of_the_call(
    dialect: str, operation: str, body: dict[str, Any], sent: dict[str, Any]
) -> None:
    assert json.loads(written(LIMITED, json.dumps(body).encode(), operation, dialect)) == sent


@pytest.mark.parametrize("name", ["max_tokens", "maxOutputTokens", "generationConfig.maxOutputTokens"])
def test_any_of_its_names_stands_for_a_known_parameter(name: str) -> None:
    assert written(made(most={name: 5}), b'{"max_tokens":9}') == b'{"max_tokens":5}'


def test_a_target_chooses_the_name_where_the_call_knows_two() -> None:
    assert written(made(default={"max_completion_tokens": 5}), b"{}") == b'{"max_completion_tokens":5}'


def test_what_is_googles_own_concerns_nobody_else() -> None:
    thinking = made(fixed={"generationConfig.thinkingConfig.thinkingBudget": 0})
    assert written(thinking, b"{}") == b"{}"
    sent = written(thinking, b'{"generationConfig":{"topP":1}}', "models/g:generateContent", "gemini")
    assert sent == b'{"generationConfig":{"thinkingConfig":{"thinkingBudget":0},"topP":1}}'


@pytest.mark.parametrize(
    ("parameters", "name", "said", "comes_to"),
    [
        (made(), "max_tokens", 500, 500),
        (made(most={"max_tokens": 100}), "max_tokens", 500, 100),
        (made(most={"max_tokens": 100}), "max_tokens", 0, 0),
        (made(most={"maxOutputTokens": 100}, default={"max_tokens": 50}), "max_tokens", 0, 50),
        (made(fixed={"max_completion_tokens": 7}), "max_tokens", 500, 7),
        (made(removed=("max_tokens",)), "max_tokens", 500, 0),
        (made(fixed={"temperature": 1}), "max_tokens", 500, 500),
        (made(fixed={"n": 8}), "n", 2, 8),
        (made(most={"n": 4}, default={"n": 2}), "n", 0, 2),
        (made(most={"n": 4}), "n", 9, 4),
        (made(removed=("n",)), "n", 9, 0),
        (made(fixed={"generationConfig.candidateCount": 3}), "candidateCount", 1, 3),
        (made(fixed={"generationConfig.candidateCount": 3, "x.n": 3}), "n", 1, 1),
    ],
)
def test_a_number_of_the_callers_is_known_as_it_is_sent(
    parameters: Parameters, name: str, said: int, comes_to: int
) -> None:
    assert amount(parameters, name, said) == comes_to


names = st.sampled_from(["a", "b", "c", "d.a", "d.b", "d.c.a"])
numbers = st.integers(0, 9)
objects = st.recursive(
    st.none() | numbers | st.text(max_size=3) | st.lists(numbers, max_size=2),
    lambda one: st.dictionaries(st.sampled_from(["a", "b", "c", "d", 'x"\\']), one, max_size=4),
    max_leaves=8,
).filter(lambda one: isinstance(one, dict))


@given(
    objects,
    st.dictionaries(names, numbers, max_size=3),
    st.dictionaries(names, numbers, max_size=3),
    st.dictionaries(names, numbers, max_size=3),
    st.sets(names, max_size=3),
    st.sampled_from([None, 1]),
)
def test_a_body_is_edited_as_a_parsed_one_would_be(
    body: dict[str, Any],
    fixed: dict[str, int],
    default: dict[str, int],
    most: dict[str, float],
    removed: set[str],
    indent: int | None,
) -> None:
    """What stands under two of them, or below another, is refused by the config."""
    said: set[str] = set()
    fixed = {name: value for name, value in fixed.items() if _apart(name, said)}
    most = {name: value for name, value in most.items() if _apart(name, said)}
    default = {name: value for name, value in default.items() if _apart(name, said)}
    gone = tuple(name for name in sorted(removed) if _apart(name, said))
    text = json.dumps(body, indent=indent).encode()
    sent = json.loads(written(made(fixed, default, most, gone), text))
    for name in gone:
        _put(body, name, lambda _: _GONE, add=False)
    for name, most_of in most.items():
        _put(body, name, lambda old, cap=most_of: min(old, cap) if isinstance(old, int) else old, add=False)  # type: ignore[misc]
    for name, value in default.items():
        _put(body, name, lambda old, new=value: new if old is None else old, add=True)  # type: ignore[misc]
    for name, value in fixed.items():
        _put(body, name, lambda _, new=value: new, add=True)  # type: ignore[misc]
    assert sent == body


_GONE = object()


def _apart(name: str, said: set[str]) -> bool:
    """Whether it neither is nor leads to what was said before, which it then is too."""
    if any(f"{one}.".startswith(f"{name}.") or f"{name}.".startswith(f"{one}.") for one in said):
        return False
    said.add(name)
    return True


def _put(body: dict[str, Any], name: str, change: Callable[[Any], Any], add: bool) -> None:
    """The value at a path changed, or added with the objects on its way; where something else stands, nothing."""
    *way, last = name.split(".")
    for index, step in enumerate(way):
        if step not in body or (add and body[step] is None):
            body.pop(step, None)
            if not add:
                return
            for new in way[index:]:
                body = body.setdefault(new, {})
            break
        body = body[step]
        if not isinstance(body, dict):
            return
    if last in body or add:
        new = change(body.get(last))
        if new is _GONE:
            body.pop(last)
        else:
            body[last] = new
