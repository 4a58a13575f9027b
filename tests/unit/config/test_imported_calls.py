"""What a LiteLLM deployment says of the calls that it serves, and what is told of the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.config.importing import Imported, imported, rendered
from sidecar.model.configured import Secret

from .conftest import Desk, load_imported


def of(*params: dict[str, Any], **more: Any) -> Imported:
    """A model `m` with a deployment of each of these parameters."""
    models = [
        {"model_name": "m", "litellm_params": {"model": "openai/m", "api_key": "os.environ/K"} | one} for one in params
    ]
    return imported(json.dumps({"model_list": models} | more), {})


def target(made: Imported) -> Any:
    return made.document["routes"]["m"][0]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"temperature": 0.2, "max_tokens": 20}, {"default": {"temperature": 0.2, "max_tokens": 20}}),
        ({"max_tokens": None, "max_completion_tokens": 0, "stop": None}, {}),
        ({"extra_body": {"top_k": 4, "min_p": 0.1}, "top_k": 9}, {"set": {"top_k": 4, "min_p": 0.1}}),
        ({"organization": "os.environ/ORG"}, {"headers": {"OpenAI-Organization": "${ORG}"}}),
        ({"extra_headers": {"X-Team": "search"}, "headers": {"X-Env": "os.environ/ENV"}},
         {"headers": {"X-Env": "${ENV}", "X-Team": "search"}}),
    ],
)  # fmt: skip
def test_parameters_and_headers_of_a_deployment_are_its_targets(
    desk: Desk, params: dict[str, Any], said: dict[str, Any]
) -> None:
    """A request says otherwise where it says anything, but of what a body has beside: `extra_body` goes over it."""
    made = of(params)
    assert target(made) == {"pool": "openai", "model": "m"} | said
    assert made.notes == ()
    load_imported(desk, made)


def test_a_header_that_may_be_a_secret_is_kept_beside_the_config(desk: Desk) -> None:
    made = of({"extra_headers": {"X-Gateway-Token": "Bearer gw-4711-word"}})
    assert target(made)["headers"] == {"X-Gateway-Token": "Bearer ${X_GATEWAY_TOKEN}"}
    assert made.secrets == {"X_GATEWAY_TOKEN": Secret("gw-4711-word")}
    assert "4711" not in rendered(made.document)
    (one,) = load_imported(desk, made).routes["m"].targets
    assert one.headers == (("x-gateway-token", "Bearer gw-4711-word"),)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"extra_headers": {"AI-Resource Group": "x"}}, 'the header "AI-Resource Group" is not a target\'s to set'),
        ({"extra_headers": {"Authorization": "x"}}, 'the header "Authorization" is not a target\'s to set'),
        ({"extra_body": {"model": "x"}}, '"model" of extra_body is not set by a target'),
        ({"organization": ["org-1", "org-2"]}, "of several an organization is a target's"),
    ],
)
def test_what_no_target_can_say_is_told(desk: Desk, params: dict[str, Any], told: str) -> None:
    made = of(params)
    assert target(made) == {"pool": "openai", "model": "m"}
    assert any(told in note for note in made.notes)
    load_imported(desk, made)


def test_deployments_of_one_target_that_say_otherwise_are_told(desk: Desk) -> None:
    made = of({"temperature": 0}, {"temperature": 1, "api_key": "os.environ/L"})
    assert target(made)["default"] == {"temperature": 0}
    assert made.notes[0].startswith('model "m": its deployments of openai/m differ in parameters or headers')
    assert len(load_imported(desk, made).pools["openai"].keys) == 2


def test_parameters_of_what_no_route_leads_to_are_told(desk: Desk) -> None:
    models = [{"model_name": "openai/*", "litellm_params": {"model": "openai/*", "api_key": "os.environ/K", "seed": 1}}]
    made = imported(json.dumps({"model_list": models}), {})
    load_imported(desk, made)
    assert made.notes == ('model "openai/*": default belong to a route\'s target here, and it has no route.',)


@pytest.mark.parametrize(
    ("params", "timeout", "max_wait", "told"),
    [
        (({"timeout": 300}, {"timeout": 300}), 300, 10, False),
        (({"timeout": 5}, {}), 5, 5, True),
        (({}, {}), 30, 10, False),
    ],
)
def test_the_timeout_of_deployments_is_their_pools(
    desk: Desk, params: tuple[dict[str, Any], ...], timeout: float, max_wait: int, told: bool
) -> None:
    """Before that of the router; where they differ it is told."""
    made = of(*params, router_settings={"timeout": 30})
    pool = load_imported(desk, made).pools["openai"]
    assert (pool.timeout_s, pool.max_wait_us) == (timeout, max_wait * 1_000_000)
    assert any("differ in timeout" in note for note in made.notes) == told


def test_the_limits_of_what_wants_no_key_are_its_pools(desk: Desk) -> None:
    params = {"model": "ollama/llama3", "rpm": 60, "tpm": 1000}
    made = imported(json.dumps({"model_list": [{"model_name": "llama", "litellm_params": params}]}), {})
    config = load_imported(desk, made)
    assert [limit.max for limits in config.budgets.values() for limit in limits] == [60, 1000]
    assert made.notes == ()


def test_credentials_by_name_stand_where_they_are_named() -> None:
    """What the deployment says itself goes before them."""
    listed = [{"credential_name": "one", "credential_values": {"api_key": "os.environ/ONE", "organization": "org-1"}}]
    params = {"model": "openai/m", "litellm_credential_name": "one", "organization": "org-2"}
    models = [{"model_name": "m", "litellm_params": params}]
    made = imported(json.dumps({"model_list": models, "credential_list": listed}), {})
    assert (made.reads, target(made)["headers"]) == (("ONE",), {"OpenAI-Organization": "org-2"})
    assert made.notes == ()
    lost = imported(json.dumps({"model_list": models}), {})
    assert lost.notes[0] == 'model "m": "one" is no name of the credential_list.'


def test_what_to_write_instead_is_told() -> None:
    made = of({"stream_timeout": 9}, litellm_settings={"drop_params": True}, general_settings={"database_url": "x"})
    told = [note.partition(":")[0] for note in made.notes if note.startswith("instead of")]
    assert told == ["instead of drop_params", "instead of database_url", "instead of stream_timeout"]
