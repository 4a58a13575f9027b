"""What other programs' keys come to: the config, the secrets beside it, and what is told of the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from sidecar.config import ConfigError
from sidecar.config.importing import Imported, imported, rendered
from sidecar.model.configured import Config, Secret, Target

from .conftest import Desk

KEY = {"api_key": "GEMINI_KEY_1_PLACEHOLDER", "key_id": "gemini-key-1", "rpm_limit": 15}
SECRETS = ("AIzaSyA1b2C3d4E5f6G7h8", "AIzaSyB1b2C3d4E5f6G7h8", "gsk_A1b2C3d4E5f6G7h8")


def pool_json(*keys: Any, provider: str = "gemini", **more: Any) -> str:
    return json.dumps({"providers": {provider: {"keys": list(keys)} | more}})


def pools(made: Imported) -> dict[str, Any]:
    found = made.document["pools"]
    assert isinstance(found, dict)
    return found


def load(desk: Desk, made: Imported, environ: Mapping[str, str] | None = None) -> Config:
    """The config as `run` would read it, each variable set that was not in the input."""
    given = {name: f"k-{name}" for name in made.reads} | {name: one.reveal() for name, one in made.secrets.items()}
    return desk.load(rendered(made.document), given | dict(environ or {}))


# --- key pools ----------------------------------------------------------------------------------------


def test_a_placeholder_names_a_variable(desk: Desk) -> None:
    made = imported(pool_json(KEY), {})
    assert pools(made)["gemini"]["keys"] == [
        {"id": "gemini-key-1", "secret": "${GEMINI_KEY_1}", "limits": [{"requests": 15, "per": "minute"}]}
    ]
    assert (made.secrets, made.reads, made.notes) == ({}, ("GEMINI_KEY_1",), ())
    (key,) = load(desk, made, {"GEMINI_KEY_1": "AIza-one"}).pools["gemini"].keys
    assert (key.id, key.secret) == ("gemini-key-1", Secret("AIza-one"))


def test_priority_models_are_what_the_key_serves_how_often_and_how_early(desk: Desk) -> None:
    models = [{"model": "gemini-2.0-flash", "weight": 10, "priority": 1}]
    made = imported(pool_json(KEY | {"priority_models": models}), {})
    config = load(desk, made)
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
    config = load(desk, imported(pool_json(*keys), {}))
    assert [key.priority for key in config.pools["gemini"].keys] == ours
    assert (config.pools["gemini"].strategy, config.warnings) == ("priority", ())


@pytest.mark.parametrize(
    ("said", "ours"), [((3, 1), [3, 1]), ((0.7, 0.3), [70, 30]), ((100_000, 1), [1000, 1]), ((2, None), [2, 1])]
)
def test_weights_keep_their_ratio(desk: Desk, said: tuple[float, ...], ours: list[int]) -> None:
    keys = [{"api_key": f"K{at}_PLACEHOLDER", "weight": weight} for at, weight in enumerate(said)]
    pool = load(desk, imported(pool_json(*keys), {})).pools["gemini"]
    assert ([key.weight for key in pool.keys], pool.strategy) == (ours, "weighted")


def test_every_kind_of_limit_is_one_of_the_configs(desk: Desk) -> None:
    said = {"rpm_limit": 15, "rpd_limit": 1500, "tpm_limit": 250_000, "monthly_limit": 9000, "itpm": 5, "otpm": 6}
    config = load(desk, imported(pool_json({"api_key": "K_PLACEHOLDER"} | said), {}))
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
    assert [key.secret.reveal() for key in load(desk, made).pools["gemini"].keys] == list(SECRETS[:2])


def test_a_key_that_a_variable_holds_already_is_read_from_there() -> None:
    made = imported(pool_json(SECRETS[0]), {"GEMINI_API_KEY_7": SECRETS[0]})
    assert made.secrets == {}
    assert pools(made)["gemini"]["keys"][0]["secret"] == "${GEMINI_API_KEY_7}"


@pytest.mark.parametrize("order", [1, -1])
def test_a_key_gets_no_name_that_another_reads(desk: Desk, order: int) -> None:
    """Though the variable may be set only where the config runs, and the other may come later."""
    made = imported(pool_json(*[SECRETS[0], "GEMINI_API_KEY_PLACEHOLDER"][::order]), {})
    assert made.secrets == {"GEMINI_API_KEY_1": Secret(SECRETS[0])}
    found = load(desk, made, {"GEMINI_API_KEY": "other"}).pools["gemini"].keys
    assert [key.secret.reveal() for key in found] == [SECRETS[0], "other"][::order]


def test_ids_are_kept_unless_they_cannot_be(desk: Desk) -> None:
    """Two of one name, one with a space, one without any."""
    keys = [{"api_key": f"K{at}_PLACEHOLDER", "key_id": name} for at, name in enumerate(["a", "a", "b c", ""])]
    made = imported(pool_json(*keys), {})
    assert [key.id for key in load(desk, made).pools["gemini"].keys] == ["a", "a_1", "b-c", "gemini-4"]
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
    pool = load(desk, made).pools["acme"]
    assert pool.provider.base_url == "http://10.0.0.7/v1"
    assert pools(made)["acme"]["limits"] == [{"requests": 9, "per": "minute"}]


# --- lists of keys ------------------------------------------------------------------------------------


def test_keys_find_their_pools_by_name_and_by_prefix(desk: Desk) -> None:
    text = f"# mine\n\n{SECRETS[0]}, {SECRETS[1]}\nexport GROQ_API_KEY='{SECRETS[2]}'  # free\nGROQ_API_KEY_2=\n"
    made = imported(text, {})
    assert list(made.secrets) == ["GEMINI_API_KEY", "GEMINI_API_KEY_1", "GROQ_API_KEY"]
    config = load(desk, made)
    assert {name: [key.secret.reveal() for key in pool.keys] for name, pool in config.pools.items()} == {
        "gemini": list(SECRETS[:2]),
        "groq": [SECRETS[2]],
    }


def test_provider_and_pool_may_be_said(desk: Desk) -> None:
    made = imported("abc123Q9\nabc123Q8==\n", {}, provider="mistral", pool="chat")
    assert list(made.secrets) == ["CHAT_API_KEY", "CHAT_API_KEY_1"]
    pool = load(desk, made).pools["chat"]
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


# --- LiteLLM ------------------------------------------------------------------------------------------

LITELLM = """
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: azure/gpt-4o-eu
      api_base: https://my-endpoint.openai.azure.com/
      api_key: os.environ/AZURE_API_KEY_EU
      rpm: 6
  - {model_name: gpt-4o, litellm_params: {model: gpt-4o, api_key: os.environ/OPENAI_API_KEY, rpm: 100, order: 2}}
  - {model_name: gpt-4o, litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_B, rpm: 9, order: 2}}
  - {model_name: mini, litellm_params: {model: openai/gpt-4o-mini, rpm: 500}, model_info: {id: x}}
  - {model_name: qwen, litellm_params: {model: openai/Qwen/Qwen2.5, api_base: "http://10.0.0.7:8000/v1", api_key: no}}
  - {model_name: llama, litellm_params: {model: ollama/llama3}}
  - {model_name: "anthropic/*", litellm_params: {model: "anthropic/*", api_key: os.environ/ANTHROPIC_API_KEY}}
  - {model_name: "*", litellm_params: {model: "openrouter/*", api_key: sk-or-v1-A1b2C3d4}}
router_settings:
  fallbacks: [{gpt-4o: [qwen]}]
  model_group_alias: {gpt-4: gpt-4o, hidden: {model: mini, hidden: true}}
  num_retries: 2
  timeout: 30
  cooldown_time: 45
  redis_host: os.environ/REDIS_HOST
  redis_port: 6380
  redis_password: p@ss
general_settings: {master_key: sk-master-1}
environment_variables: {REDIS_HOST: cache.example}
"""


def test_litellm_deployments_are_pools_keys_and_routes(desk: Desk) -> None:
    made = imported(LITELLM, {})
    config = load(desk, made)
    assert {name: (pool.provider.base_url, len(pool.keys)) for name, pool in config.pools.items()} == {
        "azure": ("https://my-endpoint.openai.azure.com/openai/v1", 1),
        "openai": ("https://api.openai.com/v1", 2),
        "10-0-0-7-8000": ("http://10.0.0.7:8000/v1", 1),
        "localhost-11434": ("http://localhost:11434/v1", 1),
        "anthropic": ("https://api.anthropic.com", 1),
        "openrouter": ("https://openrouter.ai/api/v1", 1),
    }
    own, other = config.pools["openai"].keys
    assert (own.models, other.models) == ((), ("gpt-4o",))
    assert [(limit.max, limit.model) for limit in config.budgets[own.account]] == [
        (100, "gpt-4o"),
        (500, "gpt-4o-mini"),
    ]
    chain = (Target("azure", "gpt-4o-eu"), Target("openai", "gpt-4o"), Target("10-0-0-7-8000", "Qwen/Qwen2.5"))
    assert (config.routes["gpt-4o"], config.routes["gpt-4"]) == (chain, chain)
    assert config.routes["hidden"] == (Target("openai", "gpt-4o-mini"),)
    assert config.routes["*"] == (Target("openrouter", None),)
    assert "anthropic/*" not in config.routes


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("other", [{"api_key": "os.environ/OPENAI_API_KEY"}, {}])
def test_a_litellm_key_gets_no_name_that_another_deployment_reads(
    desk: Desk, other: Mapping[str, str], order: int
) -> None:
    """Neither one that it names nor the one that its provider's keys are read from where it names none."""
    params: list[dict[str, str]] = [{"model": "openai/m", "api_key": SECRETS[0]}, {"model": "openai/m", **other}]
    models = [{"model_name": "m", "litellm_params": said} for said in params[::order]]
    made = imported(json.dumps({"model_list": models}), {})
    assert made.secrets == {"OPENAI_API_KEY_1": Secret(SECRETS[0])}
    found = load(desk, made, {"OPENAI_API_KEY": "other"}).pools["openai"].keys
    assert [key.secret.reveal() for key in found] == [SECRETS[0], "other"][::order]


@pytest.mark.parametrize("named", [True, False])
def test_a_variable_that_the_litellm_config_sets_writes_over_no_key(desk: Desk, named: bool) -> None:
    """Whether it is a key's, or nothing reads it."""
    params = [{"model": "openai/m", "api_key": SECRETS[0]}, *([{"model": "openai/m"}] if named else [])]
    models = [{"model_name": "m", "litellm_params": said} for said in params]
    text = json.dumps({"model_list": models, "environment_variables": {"OPENAI_API_KEY": SECRETS[1]}})
    found = load(desk, imported(text, {})).pools["openai"].keys
    assert [key.secret.reveal() for key in found] == list(SECRETS[: len(params)])


def test_litellm_settings_that_have_a_counterpart_are_kept(desk: Desk) -> None:
    made = imported(LITELLM, {})
    config = load(desk, made)
    pool = config.pools["azure"]
    assert (pool.max_attempts, pool.timeout_s, pool.cooldowns.default_us) == (3, 30.0, 45_000_000)
    assert config.redis == "redis://:p%40ss@cache.example:6380/0"
    assert [(client.id, client.token) for client in config.clients] == [("master", Secret("sk-master-1"))]
    assert not [word for word in ("p%40ss", "sk-master-1", "sk-or-v1-A1b2C3d4") if word in rendered(made.document)]


def test_litellm_settings_without_a_counterpart_are_named() -> None:
    more = "\n  routing_strategy: latency-based-routing\n  allowed_fails: 3"
    text = LITELLM.replace("router_settings:", f"router_settings:{more}")
    made = imported(text + "litellm_settings: {drop_params: true, context_window_fallbacks: []}\nguardrails: []\n", {})
    told = "\n".join(made.notes)
    for part in (
        'no counterpart for routing_strategy "latency-based-routing"',
        'router_settings: no counterpart for "allowed_fails"',
        'litellm_settings: no counterpart for "drop_params", "context_window_fallbacks"',
        'file: no counterpart for "guardrails"',
        "the master key is a client's here",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("params", "strategy"),
    [({"weight": 3}, "weighted"), ({"order": 2}, "priority"), ({}, "least_used")],
)
def test_litellm_strategies(desk: Desk, params: Mapping[str, int], strategy: str) -> None:
    """What deployments of one pool say goes before the strategy of the router, and that is told."""
    models = [
        {"model_name": "m", "litellm_params": {"model": "openai/m", "api_key": "os.environ/A"}},
        {"model_name": "m", "litellm_params": {"model": "openai/m", "api_key": "os.environ/B"} | dict(params)},
    ]
    text = json.dumps({"model_list": models, "router_settings": {"routing_strategy": "usage-based-routing-v2"}})
    made = imported(text, {})
    config = load(desk, made)
    assert (config.pools["openai"].strategy, config.warnings) == (strategy, ())
    has = f"pool openai: its deployments have {''.join(params)}s, so its strategy is {strategy}"
    assert made.notes == ((f"{has} and not the least_used of routing_strategy.",) if params else ())


@pytest.mark.parametrize("model", ["bedrock/anthropic.claude", "vertex_ai/gemini-pro", "azure/gpt-4", "mystery"])
def test_a_litellm_model_that_no_key_of_ours_opens_is_left_out_and_told(model: str) -> None:
    models = [
        {"model_name": "m", "litellm_params": {"model": "openai/m"}},
        {"model_name": "gone", "litellm_params": {"model": model}},
    ]
    made = imported(json.dumps({"model_list": models}), {})
    assert list(pools(made)) == ["openai"]
    assert made.notes == (f'model "gone": no pool can be made for "{model}", so it is left out.',)


@pytest.mark.parametrize("group", ["a", "b"])
def test_deployments_that_share_a_key_share_its_lowest_limit(group: str) -> None:
    """Those of one model group, which differ in order, and those of two: that they differ is told."""
    models = [
        {"model_name": name, "litellm_params": {"model": "openai/m", "rpm": rpm, "tpm": 7, "order": order}}
        for name, rpm, order in (("a", 9, 1), (group, 4, 2))
    ]
    made = imported(json.dumps({"model_list": models}), {})
    (key,) = pools(made)["openai"]["keys"]
    assert key["limits"] == [
        {"requests": 4, "per": "minute", "model": "m"},
        {"tokens": 7, "per": "minute", "model": "m"},
    ]
    told = [note for note in made.notes if "requests per minute for m" in note]
    assert told == [
        "pool openai, key ${OPENAI_API_KEY}: its deployments differ in requests per minute for m,"
        " which is a key's here. The lowest, 4, holds."
    ]
    assert not [note for note in made.notes if "tokens" in note]


def test_an_import_reads_back_as_it_was_written(desk: Desk) -> None:
    """Values that YAML could take for something else stay texts."""
    made = imported(pool_json(KEY | {"key_id": "123", "project": "on"}, KEY | {"api_key": "B_PLACEHOLDER"}), {})
    (one, other) = load(desk, made).pools["gemini"].keys
    assert (one.id, one.account, other.id) == ("123", "=on", "gemini-key-1")


@pytest.mark.parametrize(
    "text",
    [
        pool_json({"api_key": ["x"], "key_id": {}, "priority_models": [[1]], "models": [["x", 2]]}),
        '{"providers": [{"name": null, "keys": "x"}, 5]}',
        '{"providers": {"gemini": {"keys": {"a": null}}}}',
        '{"model_list": [5, {"model_name": [], "litellm_params": {"model": "openai/*", "api_base": "http://["}}]}',
        '{"model_list": [{"model_name": "m", "litellm_params": 5}], "router_settings": [], "general_settings": 1}',
    ],
)
def test_what_is_of_no_shape_is_told_and_never_a_fault_of_ours(text: str) -> None:
    """A config or an error that says why there is none."""
    try:
        assert pools(imported(text, {}))
    except ConfigError as error:
        assert "no key was found." in error.problems
