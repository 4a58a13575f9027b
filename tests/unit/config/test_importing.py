"""What other programs' keys come to: the config, the secrets beside it, and what is told of the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.config import ConfigError
from sidecar.config.importing import imported, rendered
from sidecar.model.configured import Secret

from .conftest import SECRETS, Desk, load_imported, pools

KEY = {"api_key": "GEMINI_KEY_1_PLACEHOLDER", "key_id": "gemini-key-1", "rpm_limit": 15}


def pool_json(*keys: Any, provider: str = "gemini", **more: Any) -> str:
    return json.dumps({"providers": {provider: {"keys": list(keys)} | more}})


# --- key pools ----------------------------------------------------------------------------------------


def test_a_placeholder_names_a_variable(desk: Desk) -> None:
    made = imported(pool_json(KEY), {})
    assert pools(made)["gemini"]["keys"] == [
        {"id": "gemini-key-1", "secret": "${GEMINI_KEY_1}", "limits": [{"requests": 15, "per": "minute"}]}
    ]
    assert (made.secrets, made.reads, made.notes) == ({}, ("GEMINI_KEY_1",), ())
    (key,) = load_imported(desk, made, {"GEMINI_KEY_1": "AIza-one"}).pools["gemini"].keys
    assert (key.id, key.secret) == ("gemini-key-1", Secret("AIza-one"))


def test_priority_models_are_what_the_key_serves_how_often_and_how_early(desk: Desk) -> None:
    models = [{"model": "gemini-2.0-flash", "weight": 10, "priority": 1}]
    made = imported(pool_json(KEY | {"priority_models": models}), {})
    config = load_imported(desk, made)
    (key,) = config.pools["gemini"].keys
    assert (key.models, key.weight, config.pools["gemini"].strategy) == (("gemini-2.0-flash",), 10, "weighted")
    assert made.notes == ("pool gemini: every priority is 1, which orders nothing. It is left out.",)
    assert config.warnings == ()


def test_models_of_a_key_that_differ_are_told() -> None:
    models = [{"model": "a", "weight": 2, "priority": 1}, {"model": "b", "weight": 3, "priority": 2, "rpm_limit": 2}]
    made = imported(pool_json(KEY | {"priority_models": models}), {})
    (key,) = pools(made)["gemini"]["keys"]
    assert (key["models"], key["weight"]) == (["a", "b"], 2)
    assert key["limits"][-1] == {"requests": 2, "per": "minute", "model": "b"}
    told = str(made.notes)
    assert all(f"differ in {field}" in told for field in ("weight", "priority"))


@pytest.mark.parametrize(("said", "ours"), [((1, 2, None), [1, 2, 2]), ((-5, 1000, None), [0, 1, 1])])
def test_keys_of_several_priorities_are_a_pool_of_priorities(
    desk: Desk, said: tuple[int | None, ...], ours: list[int]
) -> None:
    """One that says none comes last, not first."""
    keys = [{"api_key": f"K{at}_PLACEHOLDER", "weight": 5, "priority": number} for at, number in enumerate(said)]
    config = load_imported(desk, imported(pool_json(*keys), {}))
    assert [key.priority for key in config.pools["gemini"].keys] == ours
    assert (config.pools["gemini"].strategy, config.warnings) == ("priority", ())


@pytest.mark.parametrize(
    ("said", "ours"), [((3, 1), [3, 1]), ((0.7, 0.3), [70, 30]), ((100_000, 1), [1000, 1]), ((2, None), [2, 1])]
)
def test_weights_keep_their_ratio(desk: Desk, said: tuple[float, ...], ours: list[int]) -> None:
    keys = [{"api_key": f"K{at}_PLACEHOLDER", "weight": weight} for at, weight in enumerate(said)]
    pool = load_imported(desk, imported(pool_json(*keys), {})).pools["gemini"]
    assert ([key.weight for key in pool.keys], pool.strategy) == (ours, "weighted")


def test_every_kind_of_limit_is_one_of_the_configs(desk: Desk) -> None:
    said = {"rpm_limit": 15, "rpd_limit": 1500, "tpm_limit": 250_000, "monthly_limit": 9000, "itpm": 5, "otpm": 6}
    config = load_imported(desk, imported(pool_json({"api_key": "K_PLACEHOLDER"} | said), {}))
    (budgets,) = config.budgets.values()
    assert sorted((limit.unit, limit.max) for limit in budgets) == [
        ("input_tokens", 5),
        ("output_tokens", 6),
        ("requests", 15),
        ("requests", 1500),
        ("requests", 9000),
        ("tokens", 250_000),
    ]


def test_a_key_that_stands_in_the_input_goes_beside_the_config(desk: Desk) -> None:
    made = imported(pool_json({"api_key": SECRETS[0]}, SECRETS[1]), {"GEMINI_API_KEY": "other"})
    assert made.secrets == {"GEMINI_API_KEY_1": Secret(SECRETS[0]), "GEMINI_API_KEY_2": Secret(SECRETS[1])}
    assert not [secret for secret in SECRETS if secret in rendered(made.document) + str(made.notes) + repr(made)]
    assert [key.secret.reveal() for key in load_imported(desk, made).pools["gemini"].keys] == list(SECRETS[:2])


def test_a_key_that_a_variable_holds_already_is_read_from_there() -> None:
    made = imported(pool_json(SECRETS[0]), {"GEMINI_API_KEY_7": SECRETS[0]})
    assert made.secrets == {}
    assert pools(made)["gemini"]["keys"][0]["secret"] == "${GEMINI_API_KEY_7}"


@pytest.mark.parametrize("order", [1, -1])
def test_a_key_gets_no_name_that_another_reads(desk: Desk, order: int) -> None:
    """Though the variable may be set only where the config runs, and the other may come later."""
    made = imported(pool_json(*[SECRETS[0], "GEMINI_API_KEY_PLACEHOLDER"][::order]), {})
    assert made.secrets == {"GEMINI_API_KEY_1": Secret(SECRETS[0])}
    found = load_imported(desk, made, {"GEMINI_API_KEY": "other"}).pools["gemini"].keys
    assert [key.secret.reveal() for key in found] == [SECRETS[0], "other"][::order]


def test_ids_are_kept_unless_they_cannot_be(desk: Desk) -> None:
    """Two of one name, one with a space, one without any."""
    keys = [{"api_key": f"K{at}_PLACEHOLDER", "key_id": name} for at, name in enumerate(["a", "a", "b c", ""])]
    made = imported(pool_json(*keys), {})
    assert [key.id for key in load_imported(desk, made).pools["gemini"].keys] == ["a", "a_1", "b-c", "gemini-4"]
    assert made.notes == ('pool gemini: key "a" is called "a_1" here.', 'pool gemini: key "b c" is called "b-c" here.')


@pytest.mark.parametrize("around", ["{}", "prod {}"])
@pytest.mark.parametrize("given", [SECRETS[0], "GEMINI_KEY_1_PLACEHOLDER"])
def test_a_key_that_is_called_like_a_secret_gets_another_name(given: str, around: str) -> None:
    """Its own or another's, also where a variable holds it; and what else is told of the key does not repeat it."""
    name = around.format(SECRETS[0])
    keys = [{"api_key": secret, "key_id": name, "color": "red"} for secret in (given, SECRETS[1])]
    made = imported(pool_json(KEY | {"api_key": SECRETS[2]}, *keys), {"GEMINI_KEY_1": SECRETS[0]})
    assert [key["id"] for key in pools(made)["gemini"]["keys"]] == ["gemini-key-1", "gemini-2", "gemini-3"]
    assert 'pool gemini: the id of key 2 holds a secret, so it is called "gemini-2" here.' in made.notes
    assert SECRETS[0] not in rendered(made.document) + str(made.notes)


def test_the_same_key_twice_is_told_by_its_ids() -> None:
    made = imported(pool_json(KEY, KEY | {"key_id": "again"}), {})
    assert made.notes == ('pool gemini: key "again" has the same secret as "gemini-key-1". It is left out.',)
    assert imported("\n".join((SECRETS[0], SECRETS[0])), {}, provider="openai").notes == (
        'pool openai: the key of line 2 has the same secret as "openai-1". It is left out.',
    )
    three = pool_json(SECRETS[0], "your_key_here", SECRETS[0])
    assert imported(three, {}).notes[-1] == (
        'pool gemini: the key of entry 3 has the same secret as "gemini-1". It is left out.'
    )


def test_what_has_no_counterpart_is_named() -> None:
    off = {"api_key": "B_PLACEHOLDER", "key_id": "off", "enabled": False}
    text = json.dumps(
        {
            "providers": {
                "Google": {"keys": [KEY | {"note": "x", "color": None}, off], "retries": 3},
                "acme": {"keys": ["A_PLACEHOLDER"]},
                "azure": {"keys": ["A_PLACEHOLDER"]},
            },
            "default": "gemini",
        }
    )
    made = imported(text, {})
    assert list(pools(made)) == ["gemini"]
    assert made.notes == (
        'file: no counterpart for "default".',
        'pool gemini, key "gemini-key-1": no counterpart for "note".',
        'pool gemini, key "off": is left out, since enabled is false.',
        'provider "Google": no counterpart for "retries".',
        'provider "acme" is none that is known, so its keys are left out. Declare a pool with a base_url.',
        'provider "azure" has an address for each customer, so its keys are left out. Declare a pool with a base_url.',
    )


def test_a_provider_of_ones_own_needs_its_address(desk: Desk) -> None:
    made = imported(pool_json("A_PLACEHOLDER", provider="acme", base_url="http://10.0.0.7/v1", rpm_limit=9), {})
    pool = load_imported(desk, made).pools["acme"]
    assert pool.provider.base_url == "http://10.0.0.7/v1"
    assert pools(made)["acme"]["limits"] == [{"requests": 9, "per": "minute"}]


# --- lists of keys ------------------------------------------------------------------------------------


def test_keys_find_their_pools_by_name_and_by_prefix(desk: Desk) -> None:
    text = f"# mine\n\n{SECRETS[0]}, {SECRETS[1]}\nexport GROQ_API_KEY='{SECRETS[2]}'  # free\nGROQ_API_KEY_2=\n"
    made = imported(text, {})
    assert list(made.secrets) == ["GEMINI_API_KEY", "GEMINI_API_KEY_1", "GROQ_API_KEY"]
    config = load_imported(desk, made)
    assert {name: [key.secret.reveal() for key in pool.keys] for name, pool in config.pools.items()} == {
        "gemini": list(SECRETS[:2]),
        "groq": [SECRETS[2]],
    }


def test_provider_and_pool_may_be_said(desk: Desk) -> None:
    made = imported("abc123Q9\nabc123Q8==\n", {}, provider="mistral", pool="chat")
    assert list(made.secrets) == ["CHAT_API_KEY", "CHAT_API_KEY_1"]
    pool = load_imported(desk, made).pools["chat"]
    assert (pool.provider.name, [key.id for key in pool.keys]) == ("mistral", ["chat-1", "chat-2"])


def test_a_json_list_is_a_list_of_keys() -> None:
    assert len(imported(json.dumps(SECRETS[:2]), {}).secrets) == 2


@pytest.mark.parametrize(
    ("text", "provider", "told"),
    [
        ("zzz123Q9", None, "line 1: nothing tells whose key this is. Say it with --provider NAME."),
        ("zzz123Q9", "opnai", '"opnai" is no provider.'),
        ("# nothing\n", None, "no key was found."),
        ("your_key_here", "openai", "line 1: the key is a placeholder"),
        ("a b", "openai", "line 1: the key holds a space"),
        ("pools: {a: {}}", None, "this is a config of sidecar already."),
        ('{"a": 1}', None, "this is none of: a key pool"),
        ('{"providers": ', None, "input: line"),
    ],
)
def test_what_is_no_key_is_told(text: str, provider: str | None, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        imported(text, {}, provider=provider)
    assert told in str(raised.value)


def test_a_pool_has_one_provider() -> None:
    with pytest.raises(ConfigError, match="Leave --pool out"):
        imported("\n".join(SECRETS), {}, pool="chat")


# --- of any shape -------------------------------------------------------------------------------------


def test_an_import_reads_back_as_it_was_written(desk: Desk) -> None:
    """Values that YAML could take for something else stay texts."""
    made = imported(pool_json(KEY | {"key_id": "123", "project": "on"}, KEY | {"api_key": "B_PLACEHOLDER"}), {})
    (one, other) = load_imported(desk, made).pools["gemini"].keys
    assert (one.id, one.account, other.id) == ("123", "=on", "gemini-key-1")


@pytest.mark.parametrize(
    "text",
    [
        pool_json({"api_key": ["x"], "key_id": {}, "priority_models": [[1]], "models": [["x", 2]]}),
        '{"providers": [{"name": null, "keys": "x"}, 5]}',
        '{"providers": {"gemini": {"keys": {"a": null}}}}',
        '{"model_list": [5, {"model_name": [], "litellm_params": {"model": "openai/*", "api_base": "http://["}}]}',
        '{"model_list": [{"model_name": "m", "litellm_params": 5}], "router_settings": [], "general_settings": 1}',
        '{"model_list": [{"model_name": "m", "litellm_params": {"model": "openai/m"}}], "router_settings":'
        ' {"routing_strategy": [], "num_retries": {}, "timeout": "nan"}}',
    ],
)
def test_what_is_of_no_shape_is_told_and_never_a_fault_of_ours(text: str) -> None:
    """A config or an error that says why there is none."""
    try:
        assert pools(imported(text, {}))
    except ConfigError as error:
        assert "no key was found." in error.problems
