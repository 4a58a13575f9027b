"""URLs by which an answer would lead its client past the sidecar lead to it; what is not known passes with a key."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream

VERSION = {"anthropic-version": "2023-06-01"}
BATCH = {"requests": [{"custom_id": "a", "params": {"model": "m", "max_tokens": 9, "messages": []}}]}
START = {"X-Goog-Upload-Command": "start", "X-Goog-Upload-Protocol": "resumable"}


@pytest.fixture
async def provider() -> AsyncIterator[StrictProvider]:
    """Four keys, each an account of its own."""
    async with StrictProvider(new_keys(4), keeps=True) as provider:
        yield provider


@pytest.fixture
async def plane(provider: StrictProvider) -> AsyncIterator[Plane]:
    """Two keys of Anthropic's, two of Google's."""
    secrets = list(provider.accounts)
    pools = {
        name: {"provider": name, "base_url": provider.url, "keys": [{"id": f"k{at}", "secret": s} for at, s in keys]}
        for name, keys in (("anthropic", enumerate(secrets[:2])), ("gemini", enumerate(secrets[2:])))
    }
    async with sidecar(pools) as plane:
        yield plane


@pytest.mark.parametrize("before", ["", "/pools/anthropic"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
async def test_the_results_of_a_batch_lie_here(
    plane: Plane, provider: StrictProvider, before: str, packed: bool
) -> None:
    """Where it was asked for, and as the same JSON but for that."""
    made = await plane.post(f"{before}/v1/messages/batches", BATCH, VERSION)
    assert made.data["results_url"] is None
    if packed:
        provider.faults.append(Fault(gzip=True, times=1))
    path = f"{before}/v1/messages/batches/{made.data['id']}"
    ended = await plane.send("GET", path, VERSION | {"Accept-Encoding": "gzip"})
    assert ended.data["results_url"] == f"{plane.url}{path}/results"
    assert ended.data["id"] == made.data["id"]
    results = await plane.send("GET", f"{path}/results", VERSION)
    assert (results.status, results.key, results.attempts) == (200, made.key, 1)
    assert b'"custom_id":"a"' in results.body


@pytest.mark.parametrize("piece", [1000, 1_000_000])
async def test_so_do_those_of_more_batches_than_are_held_back(piece: int) -> None:
    """Wherever the list is cut: who followed a URL past the sidecar would show the provider its virtual key."""
    url = "https://api.anthropic.com/v1/messages/batches/%d/results"
    rows = [{"id": f"{at}", "results_url": None if at % 7 == 0 else url % at} for at in range(2000)]
    body = json.dumps({"data": rows, "last_id": "1999"}).encode()

    async def answer(exchange: Exchange) -> None:
        assert exchange.header("accept-encoding") == ["identity"]
        await exchange.begin(kind="application/json")
        for start in range(0, len(body), piece):
            await exchange.chunk(body[start : start + piece])
        await exchange.chunk(b"")

    async with RawUpstream(answer) as upstream:
        anthropic = pool(upstream.url, new_keys(1), dialect="anthropic", base_url=upstream.url)
        async with sidecar({"a": anthropic}) as plane:
            told = await plane.send("GET", "/v1/messages/batches", VERSION | {"Accept-Encoding": "gzip"})
            assert told.body == body.replace(b"https://api.anthropic.com", plane.url.encode())


@pytest.mark.parametrize("before", ["", "/pools/gemini"])
async def test_an_upload_goes_on_where_it_began(plane: Plane, provider: StrictProvider, before: str) -> None:
    """In chunks, each to the same account, and asked in between how far it came."""
    begun = await plane.send("POST", f"{before}/upload/v1beta/files", START, b'{"file": {"displayName": "a"}}')
    url = begun.headers["X-Goog-Upload-URL"]
    assert url.startswith(f"{plane.url}{before}/upload/v1beta/files?upload_id=")
    path = url.removeprefix(plane.url)
    for offset, command in enumerate(["upload", "upload", "query", "upload, finalize"]):
        chunk = {"X-Goog-Upload-Command": command, "X-Goog-Upload-Offset": str(min(offset, 2) * 3)}
        last = await plane.send("POST", path, chunk, b"abc" if "upload" in command else None)
        assert (last.status, last.key, last.attempts) == (200, begun.key, 1), command
    assert last.headers["X-Goog-Upload-Status"] == "final"
    file = last.data["file"]
    assert (file["sizeBytes"], file["displayName"]) == ("9", "a")
    assert file["uri"] == f"https://generativelanguage.googleapis.com/v1beta/{file['name']}"
    asked = {"contents": [{"parts": [{"fileData": {"fileUri": file["uri"]}}]}]}
    for _ in range(3):
        told = await plane.post("/v1beta/models/gemini-2.0-flash:generateContent", asked)
        assert (told.status, told.key, told.attempts) == (200, begun.key, 1)
    for door in ("", "/download"):
        got = await plane.send("GET", f"{before}{door}/v1beta/{file['name']}:download?alt=media")
        assert (got.body, got.key, got.attempts) == (b"abcabcabc", begun.key, 1), door
    assert {arrival.status for arrival in provider.arrivals} == {200}


async def test_an_upload_that_is_nobodys_is_not_found(plane: Plane) -> None:
    last = await plane.send("POST", "/upload/v1beta/files?upload_id=guessed", {"X-Goog-Upload-Offset": "0"}, b"x")
    assert last.status == 404


@pytest.mark.parametrize(
    ("path", "headers", "name"),
    [
        ("/v1beta/brandNew/x:doIt?a=1", {}, "gemini"),
        ("/upload/v1beta/brandNew:start", {}, "gemini"),
        ("/v1/brand/new", VERSION, "anthropic"),
        ("/v1/messages/brand_new", {}, "anthropic"),
    ],
)
async def test_what_is_not_known_passes_with_a_key(
    plane: Plane, provider: StrictProvider, path: str, headers: dict[str, str], name: str
) -> None:
    got = await plane.send("PUT", path, headers, b"{}")
    assert got.headers["x-sidecar-pool"] == name
    assert provider.arrivals[-1].path == path.partition("?")[0]
    keys = plane.replica.state.config.pools[name].keys
    assert provider.arrivals[-1].key in {key.secret.reveal() for key in keys}
