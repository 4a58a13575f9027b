"""Files, caches and embeddings by Google's SDK, over three keys of three accounts: a resumable upload goes through the
sidecar, chunk by chunk, to the account that began it.
"""

from __future__ import annotations

import asyncio
import io
from typing import Any

import aiohttp
import pytest
from google import genai
from google.genai import types

from sidecar.simulate.answers import WORDS
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane, sidecar

# google-genai derives from aiohttp's session, which aiohttp discourages.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

TEXT = "".join(WORDS)
TIMES = 4  # more than there are keys
MODEL = "gemini-2.0-flash"
LARGE = 9 * 1024 * 1024  # more than one chunk of the SDK's


def client(plane: Plane, key: str = "unused") -> genai.Client:
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=plane.url))


def keep_files(sdk: genai.Client) -> None:
    made = sdk.files.upload(file=io.BytesIO(b"x" * LARGE), config={"mime_type": "text/plain"})
    assert made.name
    assert made.size_bytes == LARGE
    for _ in range(TIMES):
        assert sdk.files.get(name=made.name).uri == made.uri
        contents: Any = [made, "what is this?"]
        assert sdk.models.generate_content(model=MODEL, contents=contents).text == TEXT
    sdk.files.delete(name=made.name)


def use_two_files_together(sdk: genai.Client) -> None:
    """And with a cache that was made before them."""
    cache = sdk.caches.create(model=MODEL, config={"contents": "a long text"})
    made = [sdk.files.upload(file=io.BytesIO(b"x"), config={"mime_type": "text/plain"}) for _ in range(2)]
    contents: Any = [*made, "compare"]
    config = types.GenerateContentConfig(cached_content=cache.name)
    assert sdk.models.generate_content(model=MODEL, contents=contents, config=config).text == TEXT


def keep_caches(sdk: genai.Client) -> None:
    cache = sdk.caches.create(model=MODEL, config={"contents": "a long text", "ttl": "7200s"})
    assert cache.name
    config = types.GenerateContentConfig(cached_content=cache.name)
    for _ in range(TIMES):
        assert sdk.caches.get(name=cache.name).model == f"models/{MODEL}"
        assert sdk.models.generate_content(model=MODEL, contents="hi", config=config).text == TEXT
    sdk.caches.update(name=cache.name, config={"ttl": "600s"})
    sdk.caches.delete(name=cache.name)


def embed_many(sdk: genai.Client) -> None:
    vectors = sdk.models.embed_content(model="gemini-embedding-001", contents=["a", "b", "c"]).embeddings
    assert vectors
    assert len(vectors) == 3


@pytest.mark.parametrize("use", [keep_files, use_two_files_together, keep_caches, embed_many])
async def test_endpoint(plane: Plane, provider: StrictProvider, use: Any) -> None:
    """No call meets another account."""

    def run() -> None:
        with client(plane) as sdk:
            use(sdk)

    await asyncio.to_thread(run)
    mine = {key.secret.reveal() for key in plane.replica.state.config.pools["gemini"].keys}
    assert {arrival.key for arrival in provider.arrivals} <= mine
    assert [arrival for arrival in provider.arrivals if arrival.status >= 400] == []


async def test_async_upload(plane: Plane, provider: StrictProvider) -> None:
    sdk = client(plane)
    made = await sdk.aio.files.upload(file=io.BytesIO(b"hello"), config={"mime_type": "text/plain"})
    assert made.name
    for _ in range(TIMES):
        assert (await sdk.aio.files.get(name=made.name)).size_bytes == 5
    await sdk.aio.aclose()
    sdk.close()
    assert [arrival for arrival in provider.arrivals if arrival.status >= 400] == []


async def test_an_upload_of_a_known_client_goes_on_without_its_key(provider: StrictProvider) -> None:
    """As the SDK sends it. The URL has no key in it, and opens nothing but that upload; a guessed one opens nothing."""
    secrets = [*provider.accounts][:3]
    keys = [{"id": f"k{at}", "secret": secret} for at, secret in enumerate(secrets)]
    pools = {"gemini": {"provider": "gemini", "base_url": provider.url, "keys": keys}}
    async with sidecar(pools, clients=[{"id": "web", "token": "virtual"}]) as plane:

        def run() -> str:
            with client(plane, "virtual") as sdk:
                made = sdk.files.upload(file=io.BytesIO(b"hello"), config={"mime_type": "text/plain"})
                assert made.name
                return made.name

        assert (await asyncio.to_thread(run)).startswith("files/")
        assert {event.client for event in plane.events if hasattr(event, "client")} == {"web"}
        start = {"x-goog-api-key": "virtual", "X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start"}
        begun = await plane.send("POST", "/upload/v1beta/files", start, b"{}")
        url = begun.headers["X-Goog-Upload-URL"]
        assert url.startswith(f"{plane.url}/upload/v1beta/files?upload_id=")
        assert not any(secret in url for secret in [*secrets, "virtual"])
        guessed = await plane.send(
            "POST", "/upload/v1beta/files?upload_id=guessed", {"X-Goog-Upload-Offset": "0"}, b"x"
        )
        assert guessed.status == 401
        assert (await plane.send("GET", "/v1beta/files?upload_id=guessed")).status == 401
        query = {"X-Goog-Upload-Command": "query"}
        upload = url.partition("?")[2]
        for path in ("/v1beta/files", "/v1beta/models/m:generateContent", "/pools/gemini/v1beta/files"):
            assert (await plane.send("POST", f"{path}?{upload}", query, b"{}")).status == 401, path
        assert (await plane.send("POST", url.removeprefix(plane.url), {"X-Goog-Upload-Command": "start"})).status == 401
        wrong = query | {"x-goog-api-key": "wrong"}
        assert (await plane.send("POST", url.removeprefix(plane.url), wrong)).status == 401
        async with aiohttp.ClientSession() as http, http.post(url, headers=query) as answer:
            assert answer.headers["X-Goog-Upload-Size-Received"] == "0"
