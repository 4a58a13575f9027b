"""A credential that an application sends as the name of a model is kept and told by nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from sidecar.model.events import Answered
from sidecar.ops.survey import known_models
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import CHAT, Plane, new_keys, pool, sidecar
from tests.proxy.shapes import shape

KEY = "sk-live/4711+0123456789=="
CLIENT = "virtual-token-of-the-web-client"
ADMIN = "token-of-the-operators"
FORMS = [KEY, f"openai/{KEY}", f"Bearer {KEY}", quote(KEY, safe=""), CLIENT, ADMIN]


@pytest.fixture
async def provider() -> AsyncIterator[StrictProvider]:
    async with StrictProvider([KEY, *new_keys(2)]) as provider:
        yield provider


@pytest.fixture
async def plane(provider: StrictProvider) -> AsyncIterator[Plane]:
    """A pool a dialect, and a secret of each kind."""
    one, two, three = provider.accounts
    pools = {
        "chat": pool(provider.url, [one]),
        "ant": pool(provider.url, [two], dialect="anthropic") | {"base_url": provider.url},
        "gem": pool(provider.url, [three], dialect="gemini") | {"base_url": provider.url},
    }
    async with sidecar(pools, clients=[{"id": "web", "token": CLIENT}], admin_token=ADMIN) as plane:
        yield plane


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/pools/chat/chat/completions", "openai"),
        ("/v1/chat/completions", "openai"),
        ("/v1/messages", "anthropic"),
        ("/v1beta/models/{}:generateContent", "gemini"),
    ],
)
async def test_a_model_that_is_a_secret_is_refused_without_repeating_it(
    name: str, path: str, dialect: str, plane: Plane, provider: StrictProvider
) -> None:
    """Before anything is granted, kept or counted under it, and as often as it is sent."""
    for _ in range(2):
        body = CHAT | {"model": name} if "{}" not in path else {"contents": []}
        reply = await plane.post(path.format(quote(name, safe="")), body, {"Authorization": f"Bearer {CLIENT}"})
        assert (reply.status, shape(reply.data)) == (400, dialect)
        said = reply.body.decode()
        assert "model's name holds a secret" in said
        assert not [secret for secret in (KEY, quote(KEY, safe=""), CLIENT, ADMIN) if secret in said]
        event = await plane.answered()
        assert (event.model, event.pool, event.attempts) == ("", "", 0)
    assert not provider.calls
    config, store = plane.replica.state.config, plane.replica.store
    assert set(await known_models(config, store)) == {"chat", "ant", "gem"}
    assert not any((await known_models(config, store)).values())


async def test_a_word_that_a_local_server_is_given_for_a_key_may_be_part_of_a_models_name(
    provider: StrictProvider,
) -> None:
    async with sidecar({"ollama": pool(provider.url, ["ollama"])}) as plane:
        await plane.chat(model="ollama/llama3")
        assert [(event.pool, event.model) for event in plane.of(Answered)] == [("ollama", "llama3")]


async def test_targets_are_found_once_for_each_model_whatever_its_path(plane: Plane, provider: StrictProvider) -> None:
    """Of a pool that the path names too, so that no later call looks for secrets again."""
    known = {"Authorization": f"Bearer {CLIENT}"}
    for path in ("/pools/chat/chat/completions", "/v1/chat/completions") * 2:
        assert (await plane.post(path, CHAT, known)).status == 200
    assert [asked[2] for asked in plane.replica.state.found] == ["gpt-4o", "gpt-4o"]
    assert len(provider.calls) == 4
