"""`outcomes:` of a pool: what each class implies, and what is wrong with an entry."""

from __future__ import annotations

import pytest

from sidecar.model.classes import Class, Scope
from sidecar.model.configured import Override

from .conftest import Desk

POOL = "pools: {p: {provider: %s, keys: [{id: a, secret: k1}], outcomes: [%s]}}"


def overrides(desk: Desk, *entries: str, provider: str = "openrouter") -> tuple[Override, ...]:
    return desk.load(POOL % (provider, ", ".join(entries))).pools["p"].provider.overrides


def test_the_issues_examples_in_their_order(desk: Desk) -> None:
    first, second = overrides(
        desk, "{status: 402, class: invalid_key}", '{status: 400, body: "Resource Exhausted", class: rate_limit_day}'
    )
    assert first == Override(Class.INVALID_KEY, Scope.KEY, other=True, statuses=frozenset({402}))
    assert second == Override(
        Class.RATE_LIMIT_DAY, Scope.KEY, other=True, statuses=frozenset({400}), body="resource exhausted"
    )


def test_without_outcomes_a_provider_is_the_catalogues(desk: Desk) -> None:
    text = "pools: {p: {provider: openai, keys: [{id: a, secret: k1}]}}"
    assert desk.load(text).pools["p"].provider.overrides == ()


@pytest.mark.parametrize(
    ("written", "statuses"),
    [
        ("402", {402}),
        ('"402"', {402}),
        ("5xx", set(range(500, 600))),
        ("[400, 4XX]", set(range(400, 500))),
        ("[401, 403]", {401, 403}),
    ],
)
def test_statuses(desk: Desk, written: str, statuses: set[int]) -> None:
    (made,) = overrides(desk, f"{{status: {written}, class: server_error}}")
    assert made.statuses == statuses


def test_a_status_from_the_environment_is_a_number(desk: Desk) -> None:
    text = POOL % ("openai", '{status: "${CODE}", class: "${CLASS}"}')
    (made,) = desk.load(text, {"CODE": "402", "CLASS": "invalid_key"}).pools["p"].provider.overrides
    assert (made.statuses, made.kind) == (frozenset({402}), Class.INVALID_KEY)


@pytest.mark.parametrize(
    ("kind", "scope", "other"),
    [
        ("ok", "request", False),
        ("rate_limit_minute", "key", True),
        ("rate_limit_day", "key", True),
        ("rate_limit_tokens", "key", True),
        ("quota_exhausted_billing", "key", True),
        ("invalid_key", "key", True),
        ("permission", "key+model", True),
        ("overloaded", "provider", True),
        ("server_error", "provider", True),
        ("timeout", "provider", True),
        ("connect", "provider", True),
        ("bad_request", "request", False),
        ("blocked", "request", False),
    ],
)
def test_each_class_implies_its_scope_and_whether_another_key_is_asked(
    desk: Desk, kind: str, scope: str, other: bool
) -> None:
    (made,) = overrides(desk, f"{{status: 418, class: {kind}}}")
    assert (made.kind, made.scope, made.other) == (kind, scope, other)


def test_a_rate_limit_is_a_models_where_the_provider_counts_so(desk: Desk) -> None:
    entry = "{status: 418, class: rate_limit_minute}"
    assert overrides(desk, entry, provider="gemini")[0].scope is Scope.KEY_MODEL


@pytest.mark.parametrize(
    ("entry", "scope", "other"),
    [
        ("class: rate_limit_minute, scope: key+model", "key+model", True),
        ("class: rate_limit_minute, scope: provider", "provider", True),
        ("class: overloaded, scope: key, delay: 10m", "key", True),
        ("class: permission, scope: provider", "provider", False),
        ("class: permission, scope: request", "request", True),
    ],
)
def test_a_scope_replaces_what_the_class_implies(desk: Desk, entry: str, scope: str, other: bool) -> None:
    (made,) = overrides(desk, f"{{status: 418, {entry}}}")
    assert (made.scope, made.other, made.delay_s) == (scope, other, 600.0 if "delay" in entry else None)


@pytest.mark.parametrize(
    ("entry", "warning"),
    [
        ("status: 418, class: bad_request, scope: key", "outcomes[0].scope: has no effect: bad_request rests nothing."),
        (
            "status: 402, class: invalid_key, delay: 5m",
            "outcomes[0].delay: has no effect on invalid_key: it rests for cooldown.max once it is proved.",
        ),
        ("status: 500, class: timeout, delay: 5m", "has no effect on timeout: nothing rests for it."),
    ],
)
def test_what_has_no_effect_is_said(desk: Desk, entry: str, warning: str) -> None:
    config = desk.load(POOL % ("openai", f"{{{entry}}}"))
    (told,) = config.warnings
    assert told.endswith(warning)


@pytest.mark.parametrize(
    ("entry", "refused"),
    [
        ("{status: 402}", "outcomes[0].class: is missing."),
        (
            "{status: 402, class: invalid_keys}",
            'outcomes[0].class: "invalid_keys" is no class. Did you mean "invalid_key"?\n  Known: ok, rate_limit_min',
        ),
        (
            "{status: 402, class: ok, scope: model}",
            'outcomes[0].scope: "model" is no scope. Did you mean "key+model"?\n  Known: key, key+model, provider,',
        ),
        (
            "{class: ok}",
            'outcomes[0]: says of no answer what it means. Give it a status: 402, or a body: "some words".',
        ),
        ("{status: 6xx, class: ok}", 'outcomes[0].status: "6xx" is no status such as 402 or 5xx.'),
        ("{status: [402, 40], class: ok}", "outcomes[0].status[1]: 40 is no status such as 402 or 5xx."),
        ("{status: [], class: ok}", "outcomes[0].status: is empty. Leave it out for every error."),
        ("{status: true, class: ok}", "outcomes[0].status: expected"),
        ("{status: 200, class: ok}", "outcomes[0].status: would mean every success."),
        ('{body: "", class: ok}', "outcomes[0].body: is no text to look for."),
        ("{body: x, class: ok, delay: soon}", 'outcomes[0].delay: "soon" is no duration such as 500ms'),
        (
            "{body: x, clas: ok}",
            'outcomes[0].clas: there is no such field. Did you mean "class"?\n  Known: class, status,',
        ),
        ("{body: x, kind: ok}", "outcomes[0].kind: there is no such field."),
    ],
)
def test_what_is_wrong_is_told_with_its_path_and_the_nearest_name(desk: Desk, entry: str, refused: str) -> None:
    assert f"sidecar.yaml: pools.p.{refused}" in desk.refused(POOL % ("openai", entry))


def test_a_body_may_be_all_that_is_said(desk: Desk) -> None:
    (made,) = overrides(desk, '{body: "No Money", class: quota_exhausted_billing}')
    assert (made.statuses, made.body) == (frozenset(), "no money")
