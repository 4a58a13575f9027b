"""Faults come when, to whom and as ordered."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any, NamedTuple

import aiohttp
import pytest
from multidict import CIMultiDictProxy

from sidecar.simulate.answers import Answer
from sidecar.simulate.failures import Fault, duration, failed, gzipped
from sidecar.simulate.provider import StrictProvider

ONE, TWO = "secret-of-key-one", "secret-of-key-two"
CHAT = "/v1/chat/completions"
SSE = "/v1beta/models/m:streamGenerateContent?alt=sse"
ARRAY = "/v1beta/models/m:streamGenerateContent"
STREAM = {"model": "m", "stream": True}


class Got(NamedTuple):
    """An answer, read whole."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


async def post(
    provider: StrictProvider, http: aiohttp.ClientSession, path: str = CHAT, body: Any = None, *, secret: str = ONE
) -> Got:
    given = {"model": "m"} if body is None else body
    headers = {"Authorization": f"Bearer {secret}"}
    async with http.post(provider.url + path, json=given, headers=headers, allow_redirects=False) as answer:
        return Got(answer.status, answer.headers, await answer.read())


# --- for whom ---------------------------------------------------------------------------------------


async def test_a_fault_befalls_its_key_model_and_path_alone(
    provider: StrictProvider, http: aiohttp.ClientSession
) -> None:
    provider.faults.append(Fault(key=ONE, model="bad*", path=CHAT, status=500))
    assert (await post(provider, http, body={"model": "bad-1"})).status == 500
    assert (await post(provider, http, body={"model": "bad-1"}, secret=TWO)).status == 200
    assert (await post(provider, http, body={"model": "good"})).status == 200
    assert (await post(provider, http, "/v1/completions", {"model": "bad-1"})).status == 200


async def test_a_fault_ends_after_its_times_and_the_next_one_takes_over(
    provider: StrictProvider, http: aiohttp.ClientSession
) -> None:
    provider.faults += [Fault(status=500, times=2), Fault(status=503, times=1)]
    assert [(await post(provider, http)).status for _ in range(4)] == [500, 500, 503, 200]


async def test_a_violation_is_refused_whatever_fault_is_ordered(http: aiohttp.ClientSession) -> None:
    async with StrictProvider([ONE], [(1, 60)]) as strict:
        strict.faults.append(Fault(status=500))
        assert [(await post(strict, http)).status for _ in range(2)] == [500, 429]


# --- what is answered -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        (CHAT, 500, "server_error"),
        (CHAT, 404, "model_not_found"),
        ("/v1/messages", 529, "overloaded_error"),
        ("/v1/messages", 503, "api_error"),
        ("/v1beta/models/m:generateContent", 503, "UNAVAILABLE"),
        ("/v1beta/openai/chat/completions", 500, "INTERNAL"),
        ("/echo/x", 502, "Bad Gateway"),
        (CHAT, 599, "Error 599"),
    ],
)
async def test_a_status_has_the_dialects_own_body(
    provider: StrictProvider, http: aiohttp.ClientSession, path: str, status: int, kind: str
) -> None:
    provider.faults.append(Fault(status=status))
    answer = await post(provider, http, path)
    assert answer.status == status
    assert kind in answer.text
    assert answer.headers["Content-Type"] == "application/json"


async def test_a_recorded_answer_is_replayed(provider: StrictProvider, http: aiohttp.ClientSession) -> None:
    """Status, headers and body of an observed case; what is no JSON is sent as it is."""
    provider.faults += [
        Fault(status=429, headers={"content-type": "application/problem+json"}, body=[{"error": "é"}], times=1),
        Fault(headers={"content-type": "text/html"}, body="<html>sorry</html>"),
    ]
    first, second = await post(provider, http), await post(provider, http)
    assert (first.status, first.headers.getall("content-type")) == (429, ["application/problem+json"])
    assert json.loads(first.body) == [{"error": "é"}]
    assert (second.status, second.text, second.headers["Content-Type"]) == (200, "<html>sorry</html>", "text/html")


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        (CHAT, 401, "invalid_api_key"),
        ("/v1/messages", 401, "authentication_error"),
        ("/v1beta/models/m:generateContent", 400, "API_KEY_INVALID"),
    ],
)
async def test_a_dead_key_hears_that_it_is_not_valid(
    provider: StrictProvider, http: aiohttp.ClientSession, path: str, status: int, kind: str
) -> None:
    provider.faults.append(Fault(key=ONE, dead=True))
    answer = await post(provider, http, path)
    assert answer.status == status
    assert kind in answer.text
    assert (await post(provider, http, path, secret=TWO)).status == 200


async def test_headers_are_added_to_a_healthy_answer(provider: StrictProvider, http: aiohttp.ClientSession) -> None:
    provider.faults.append(Fault(headers={"Set-Cookie": "a=b", "x-ratelimit-remaining-requests": "3"}))
    answer = await post(provider, http)
    assert answer.status == 200
    assert (answer.headers["Set-Cookie"], answer.headers["x-ratelimit-remaining-requests"]) == ("a=b", "3")


async def test_a_redirect_names_its_place(provider: StrictProvider, http: aiohttp.ClientSession) -> None:
    provider.faults.append(Fault(status=307, headers={"Location": "http://elsewhere.invalid/"}))
    answer = await post(provider, http)
    assert (answer.status, answer.headers["Location"], answer.body) == (307, "http://elsewhere.invalid/", b"")


@pytest.mark.parametrize("packed", [False, True])
async def test_the_secret_is_echoed_where_it_is_asked_for(provider: StrictProvider, packed: bool) -> None:
    """Plain, and hidden from whoever looks at the raw bytes alone."""
    leak = Fault(status=401, body={"error": "no {secret}"}, headers={"x-echo": "{secret}"}, gzip=packed)
    provider.faults.append(leak)
    async with aiohttp.ClientSession(auto_decompress=False) as raw:
        answer = await post(provider, raw)
    body = answer.body
    assert answer.headers["x-echo"] == ONE
    assert answer.headers.get("Content-Encoding") == ("gzip" if packed else None)
    assert (ONE.encode() in body) == (not packed)
    assert json.loads(gzip.decompress(body) if packed else body) == {"error": f"no {ONE}"}


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", SSE, ARRAY])
async def test_gzip_changes_nothing_of_the_content(
    provider: StrictProvider, http: aiohttp.ClientSession, path: str
) -> None:
    plain = await post(provider, http, path, STREAM)
    provider.reset()
    provider.faults.append(Fault(gzip=True))
    packed = await post(provider, http, path, STREAM)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.body == plain.body


def test_each_gzipped_chunk_can_be_read_as_soon_as_it_is_there() -> None:
    from zlib import decompressobj

    reader = decompressobj(wbits=31)
    packed = gzipped(Answer(200, (b"one", b"two")))
    assert [reader.decompress(chunk) for chunk in packed.chunks[:2]] == [b"one", b"two"]


# --- inside a stream --------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["first", "middle"])
@pytest.mark.parametrize(
    ("path", "error"),
    [
        (CHAT, '"server_error"'),
        ("/v1/responses", "event: error"),
        ("/v1/messages", "event: error"),
        (SSE, '{"error":{"code":500'),
        ("/v1beta/openai/chat/completions", '"INTERNAL"'),
    ],
)
async def test_an_error_comes_inside_a_stream(
    provider: StrictProvider, http: aiohttp.ClientSession, path: str, error: str, *, at: Any
) -> None:
    """First: nothing before it. Middle: something of the healthy answer before, and nothing after but OpenAI's end."""
    provider.faults.append(Fault(status=500, at=at))
    answer = await post(provider, http, path, STREAM)
    text = answer.text
    before, found, after = text.partition(error)
    assert answer.status == 200
    assert found
    assert ("Hello" in before) == (at == "middle")
    assert "provider" not in after
    assert text.endswith("data: [DONE]\n\n") == path.endswith("chat/completions")


@pytest.mark.parametrize("at", ["first", "middle"])
async def test_an_error_inside_geminis_array_leaves_it_valid_json(
    provider: StrictProvider, http: aiohttp.ClientSession, at: Any
) -> None:
    provider.faults.append(Fault(status=503, at=at))
    parts = json.loads((await post(provider, http, ARRAY)).body)
    assert parts[-1]["error"]["status"] == "UNAVAILABLE"
    assert (len(parts) > 1) == (at == "middle")


async def test_an_error_for_a_stream_is_plain_http_where_none_was_asked_for(
    provider: StrictProvider, http: aiohttp.ClientSession
) -> None:
    provider.faults.append(Fault(status=500, at="middle"))
    assert (await post(provider, http)).status == 500


# --- how it is sent ---------------------------------------------------------------------------------


async def test_a_connection_is_closed_before_the_answer(provider: StrictProvider, http: aiohttp.ClientSession) -> None:
    provider.faults.append(Fault(close="before"))
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await post(provider, http)
    (arrival,) = provider.arrivals
    assert (arrival.status, arrival.ended, provider.open) == (0, "closed", 0)


@pytest.mark.parametrize("body", [STREAM, {"model": "m"}])
async def test_a_connection_is_closed_in_the_middle_of_the_body(
    provider: StrictProvider, http: aiohttp.ClientSession, body: Any
) -> None:
    provider.faults.append(Fault(close="middle"))
    headers = {"Authorization": f"Bearer {ONE}"}
    async with http.post(provider.url + CHAT, json=body, headers=headers) as answer:
        assert answer.status == 200
        assert await answer.content.readany()
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert (provider.arrivals[0].status, provider.arrivals[0].ended) == (200, "closed")


async def test_a_request_hangs_without_a_byte_until_it_is_released(
    provider: StrictProvider, http: aiohttp.ClientSession
) -> None:
    provider.faults.append(Fault(hang=True, times=1))
    hanging = asyncio.create_task(post(provider, http))
    await provider.wait_for(lambda: provider.open == 1)
    assert (await post(provider, http)).status == 200
    assert not hanging.done()
    provider.release()
    assert (await hanging).status == 200


async def test_a_client_that_leaves_a_hanging_request_is_noticed(
    provider: StrictProvider, http: aiohttp.ClientSession
) -> None:
    provider.faults.append(Fault(hang=True))
    hanging = asyncio.create_task(post(provider, http))
    await provider.wait_for(lambda: provider.open == 1)
    hanging.cancel()
    await provider.wait_for(lambda: provider.open == 0)
    assert (provider.arrivals[0].ended, provider.arrivals[0].status) == ("cancelled", 0)


async def test_a_client_that_leaves_a_stream_is_noticed(provider: StrictProvider, http: aiohttp.ClientSession) -> None:
    provider.faults.append(Fault(chunk_s=3600))
    headers = {"Authorization": f"Bearer {ONE}"}
    async with http.post(provider.url + CHAT, json=STREAM, headers=headers) as answer:
        assert await answer.content.readany()
    await provider.wait_for(lambda: provider.open == 0)
    assert (provider.arrivals[0].ended, provider.arrivals[0].status) == ("cancelled", 200)


async def test_an_answer_can_be_late_with_its_headers(provider: StrictProvider, http: aiohttp.ClientSession) -> None:
    provider.faults.append(Fault(headers_s=3600))
    asking = asyncio.create_task(post(provider, http))
    await provider.wait_for(lambda: provider.calls)
    assert (provider.open, provider.arrivals[0].status) == (1, 0)
    asking.cancel()


@pytest.mark.parametrize("body", [STREAM, {"model": "m"}])
async def test_an_answer_can_be_late_with_its_first_byte(
    provider: StrictProvider, http: aiohttp.ClientSession, body: Any
) -> None:
    """The headers are there; of the body nothing, when the client gives up an hour early."""
    provider.faults.append(Fault(first_byte_s=3600))
    async with http.post(provider.url + CHAT, json=body, headers={"Authorization": f"Bearer {ONE}"}) as answer:
        assert answer.status == 200
        assert answer.content.read_nowait() == b""
    await provider.wait_for(lambda: provider.open == 0)
    assert provider.arrivals[0].ended == "cancelled"


async def test_a_stream_can_be_late_with_every_chunk_but_the_first(
    provider: StrictProvider, http: aiohttp.ClientSession
) -> None:
    provider.faults.append(Fault(chunk_s=3600))
    async with http.post(provider.url + CHAT, json=STREAM, headers={"Authorization": f"Bearer {ONE}"}) as answer:
        assert (await answer.content.readany()).count(b"data: ") == 1


async def test_short_delays_pass(provider: StrictProvider, http: aiohttp.ClientSession) -> None:
    provider.faults.append(Fault(headers_s=0.001, first_byte_s=0.001, chunk_s=0.001))
    assert (await post(provider, http, body=STREAM)).text.endswith("data: [DONE]\n\n")


async def test_the_provider_stops_while_requests_hang(http: aiohttp.ClientSession) -> None:
    async with StrictProvider([ONE]) as strict:
        strict.faults.append(Fault(hang=True))
        hanging = asyncio.create_task(post(strict, http))
        await strict.wait_for(lambda: strict.open == 1)
    assert (await asyncio.gather(hanging, return_exceptions=True))[0]
    assert strict.open == 0


# --- words ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.174, "174ms"), (8.64, "8.64s"), (60, "1m0s"), (432, "7m12s"), (3600.5, "1h0m0.5s"), (0.9999, "1s"), (0, "0ms")],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_status_below_400_has_no_body() -> None:
    assert failed("openai", 307) == Answer(307, (b"",))
