"""A provider that keeps things gives each to the account that made it, and tells all others that it is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from sidecar.simulate.provider import StrictProvider

ONE, SAME, OTHER = "secret-of-key-one", "secret-of-key-two", "secret-of-another"
GOOGLES = {"X-Goog-Upload-Command": "start", "X-Goog-Upload-Header-Content-Type": "text/plain"}


@pytest.fixture
async def provider() -> AsyncIterator[StrictProvider]:
    """Two keys of one account, one of another."""
    async with StrictProvider({ONE: "acme", SAME: "acme", OTHER: None}, keeps=True) as strict:
        yield strict


async def ask(http: aiohttp.ClientSession, method: str, url: str, secret: str, **more: Any) -> tuple[int, Any]:
    """Status and JSON of one call, with the credential of OpenAI's dialect."""
    async with http.request(method, url, headers={"Authorization": f"Bearer {secret}"}, **more) as answer:
        return answer.status, await answer.json(content_type=None)


async def a_file(http: aiohttp.ClientSession, provider: StrictProvider) -> str:
    form = aiohttp.FormData({"purpose": "batch"})
    form.add_field("file", b'{"custom_id": "a"}', filename="a.jsonl")
    _, made = await ask(http, "POST", f"{provider.url}/v1/files", ONE, data=form)
    return str(made["id"])


async def test_a_file_is_its_accounts(provider: StrictProvider, http: aiohttp.ClientSession) -> None:
    file = await a_file(http, provider)
    assert (await ask(http, "GET", f"{provider.url}/v1/files/{file}", SAME))[0] == 200
    status, told = await ask(http, "GET", f"{provider.url}/v1/files/{file}", OTHER)
    assert (status, told["error"]["message"]) == (404, f"No such File object: {file}")
    assert (await ask(http, "GET", f"{provider.url}/v1/files", OTHER))[1]["data"] == []


async def test_it_is_not_there_in_a_body_either(provider: StrictProvider, http: aiohttp.ClientSession) -> None:
    """However deep it is named."""
    file = await a_file(http, provider)
    message = {"role": "user", "content": [{"type": "file", "file": {"file_id": file}}]}
    asked = {"model": "gpt-4o", "messages": [message]}
    assert (await ask(http, "POST", f"{provider.url}/v1/chat/completions", SAME, json=asked))[0] == 200
    assert (await ask(http, "POST", f"{provider.url}/v1/chat/completions", OTHER, json=asked))[0] == 404


async def test_a_previous_response_is_refused_in_openais_words(
    provider: StrictProvider, http: aiohttp.ClientSession
) -> None:
    url = f"{provider.url}/v1/responses"
    _, made = await ask(http, "POST", url, ONE, json={"model": "gpt-4o", "input": "hi"})
    again = {"model": "gpt-4o", "input": "and?", "previous_response_id": made["id"]}
    assert (await ask(http, "POST", url, SAME, json=again))[0] == 200
    status, told = await ask(http, "POST", url, OTHER, json=again)
    assert (status, told["error"]["code"]) == (400, "previous_response_not_found")


async def test_what_is_not_stored_is_nobodys(provider: StrictProvider, http: aiohttp.ClientSession) -> None:
    url = f"{provider.url}/v1/responses"
    _, made = await ask(http, "POST", url, ONE, json={"model": "gpt-4o", "input": "hi", "store": False})
    assert (await ask(http, "GET", f"{url}/{made['id']}", ONE))[0] == 404


async def test_a_chunk_at_another_offset_is_refused(provider: StrictProvider, http: aiohttp.ClientSession) -> None:
    """And so is another account's, as a file that is not there."""
    mine, others = {"x-goog-api-key": ONE}, {"x-goog-api-key": OTHER}
    async with http.post(f"{provider.url}/upload/v1beta/files", headers=GOOGLES | mine) as begun:
        url = begun.headers["X-Goog-Upload-URL"]
    for headers, offset, status in ((mine, "3", 400), (others, "0", 404), (mine, "0", 200)):
        chunk = headers | {"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": offset}
        async with http.post(url, headers=chunk, data=b"abc") as answer:
            assert answer.status == status
            file = await answer.json()
    name = file["file"]["name"]
    async with http.get(f"{provider.url}/v1beta/{name}", headers=others) as answer:
        assert answer.status == 403
        assert "permission to access the File" in (await answer.json())["error"]["message"]
