"""What the strict provider counts, refuses and tells, over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sidecar.simulate.ledger import SECOND_NS, Budget
from sidecar.simulate.provider import KEPT_CALLS, StrictProvider

ONE, TWO, OWN = "secret-of-key-one", "secret-of-key-two", "secret-own"
CHAT = "/v1/chat/completions"
COMPAT = "/v1beta/openai/chat/completions"
GEMINI = "/v1beta/models/gemini-2.5-pro:generateContent"
ASK = {"model": "m", "messages": []}


def bearer(secret: str = ONE) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def post(http: aiohttp.ClientSession, url: str, headers: dict[str, str], body: Any = None) -> tuple[int, Any]:
    async with http.post(url, json=ASK if body is None else body, headers=headers) as answer:
        return answer.status, await answer.json()


# --- counting ---------------------------------------------------------------------------------------


async def test_arrivals_are_told_with_their_key_account_model_and_status(
    provider: StrictProvider, http: aiohttp.ClientSession
) -> None:
    await post(http, provider.url + CHAT, bearer())
    await post(http, provider.url + GEMINI, {"x-goog-api-key": OWN}, {"contents": []})
    await post(http, provider.url + CHAT, bearer("unknown"))
    seen = [(one.key, one.account, one.model, one.path, one.status, one.ended) for one in provider.arrivals]
    assert seen == [
        (ONE, "acme", "m", CHAT, 200, "answered"),
        (OWN, OWN, "gemini-2.5-pro", GEMINI, 200, "answered"),
        ("unknown", "", "m", CHAT, 401, "answered"),
    ]
    assert provider.counts() == {ONE: 1, TWO: 0, OWN: 1}
    assert provider.arrivals[0].at_ns < provider.arrivals[1].at_ns
    assert provider.open == 0


async def test_a_window_ends_at_its_last_nanosecond(http: aiohttp.ClientSession) -> None:
    """One a minute: refused a nanosecond before the minute is over, served at its end."""
    moments = iter([0, 60 * SECOND_NS - 1, 120 * SECOND_NS - 1])
    async with StrictProvider([ONE], [(1, 60)], clock=lambda: next(moments)) as strict:
        answers = [(await post(http, strict.url + CHAT, bearer()))[0] for _ in range(3)]
        assert answers == [200, 429, 200]
        assert [(found.held, found.arrival.at_ns) for found in strict.violations] == [(2, 60 * SECOND_NS - 1)]
        assert strict.worst(ONE) == {Budget(1, 60): 2}


async def test_the_keys_of_an_account_share_its_budget_and_other_accounts_do_not(http: aiohttp.ClientSession) -> None:
    async with StrictProvider({ONE: "acme", TWO: "acme", OWN: None}, [(1, 60)]) as strict:
        answers = [(await post(http, strict.url + CHAT, bearer(key)))[0] for key in (ONE, TWO, OWN)]
        assert answers == [200, 429, 200]
        assert strict.counts() == {ONE: 1, TWO: 1, OWN: 1}
        assert [(peak.account, peak.held) for peak in strict.excess()] == [("acme", 2)]


async def test_a_budget_with_a_pattern_counts_the_models_it_matches_in_every_dialect(
    http: aiohttp.ClientSession,
) -> None:
    async with StrictProvider([ONE], [(2, 60, "gemini-2.5-*")]) as strict:
        native, _ = await post(http, strict.url + GEMINI, {"x-goog-api-key": ONE})
        compat, _ = await post(http, strict.url + COMPAT, bearer(), ASK | {"model": "models/gemini-2.5-flash"})
        other, _ = await post(http, strict.url + COMPAT, bearer(), ASK | {"model": "gemini-2.0-flash"})
        over, _ = await post(http, strict.url + CHAT, bearer(), ASK | {"model": "gemini-2.5-flash-lite"})
        assert (native, compat, other, over) == (200, 200, 200, 429)


async def test_a_429_of_gemini_names_the_quota_and_the_exact_wait(http: aiohttp.ClientSession) -> None:
    """Arrivals at 0 and 10 s and this one at 56.5 s, which counts as well: the one at 10 s must leave first."""
    moments = iter([0, 10 * SECOND_NS, 56 * SECOND_NS + SECOND_NS // 2])
    async with StrictProvider([ONE], [(2, 60, "gemini*")], clock=lambda: next(moments)) as strict:
        for _ in range(3):
            status, told = await post(http, strict.url + GEMINI, {"x-goog-api-key": ONE}, {"contents": []})
    details = {detail["@type"].rpartition(".")[2]: detail for detail in told["error"]["details"]}
    (quota,) = details["QuotaFailure"]["violations"]
    assert (status, details["RetryInfo"]["retryDelay"]) == (429, "14s")
    assert "Please retry in 13.500000000s." in told["error"]["message"]
    assert quota["quotaId"] == "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
    assert (quota["quotaDimensions"]["model"], quota["quotaValue"]) == ("gemini-2.5-pro", "2")


async def test_a_429_of_a_day_says_so_and_comes_in_an_array_on_geminis_openai_path(
    http: aiohttp.ClientSession,
) -> None:
    async with StrictProvider([ONE], [(1, 86_400)]) as strict:
        await post(http, strict.url + COMPAT, bearer())
        _, told = await post(http, strict.url + COMPAT, bearer())
    assert told[0]["error"]["status"] == "RESOURCE_EXHAUSTED"
    assert told[0]["error"]["details"][0]["violations"][0]["quotaId"] == "GenerateRequestsPerDayPerProject-FreeTier"


async def test_a_429_of_openai_and_anthropic_tells_the_wait_in_headers(http: aiohttp.ClientSession) -> None:
    moments = iter([0, 1, 2])
    async with StrictProvider([ONE], [(1, 60)], clock=lambda: next(moments)) as strict:
        await post(http, strict.url + CHAT, bearer())
        async with http.post(strict.url + CHAT, json=ASK, headers=bearer()) as answer:
            assert (answer.headers["retry-after"], answer.headers["x-ratelimit-reset-requests"]) == ("60", "1m0s")
            told = (await answer.json())["error"]
            assert (told["type"], told["code"]) == ("requests", "rate_limit_exceeded")
            assert ONE not in told["message"]
        async with http.post(strict.url + "/v1/messages", json=ASK, headers={"x-api-key": ONE}) as answer:
            assert answer.headers["retry-after"] == "60"
            assert (await answer.json())["error"]["type"] == "rate_limit_error"


async def test_a_reset_forgets_what_arrived_and_frees_the_budget(http: aiohttp.ClientSession) -> None:
    async with StrictProvider([ONE], [(1, 60)]) as strict:
        await post(http, strict.url + CHAT, bearer())
        strict.reset()
        assert (await post(http, strict.url + CHAT, bearer()))[0] == 200
        assert len(strict.arrivals) == 1
        assert strict.violations == []


# --- credentials ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        (CHAT, 401, "You didn't provide an API key"),
        ("/v1/anything", 401, "You didn't provide an API key"),
        ("/v1/messages", 401, "x-api-key header is required"),
        (GEMINI, 403, "unregistered callers"),
        (COMPAT, 400, "Missing or invalid Authorization header"),
    ],
)
async def test_a_request_without_a_credential_hears_what_its_provider_says(
    provider: StrictProvider, http: aiohttp.ClientSession, path: str, status: int, words: str
) -> None:
    answered, body = await post(http, provider.url + path, {})
    assert answered == status
    assert words in json.dumps(body)


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        (CHAT, 401, "invalid_api_key"),
        ("/v1/messages", 401, "authentication_error"),
        (GEMINI, 400, "API_KEY_INVALID"),
        (COMPAT, 400, "API_KEY_INVALID"),
    ],
)
async def test_an_unknown_key_hears_what_its_provider_says(
    provider: StrictProvider, http: aiohttp.ClientSession, path: str, status: int, words: str
) -> None:
    answered, body = await post(http, provider.url + path, bearer("a-secret-nobody-knows"))
    assert answered == status
    assert words in json.dumps(body)
    assert "a-secret-nobody-knows" not in json.dumps(body)
    assert isinstance(body, list) == (path == COMPAT)


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {"Authorization": f"Bearer {ONE}", "x-api-key": ONE}),
        ("", {"x-goog-api-key": ONE, "x-api-key": "another"}),
        (f"?key={ONE}", {"x-goog-api-key": ONE}),
        ("?key=a&key=b", {}),
        ("?key=", {"Authorization": "Basic dXNlcjpwYXNz"}),
    ],
)
@pytest.mark.parametrize("path", [CHAT, COMPAT, "/v1/messages", GEMINI])
async def test_two_credentials_are_refused_in_every_dialect(
    provider: StrictProvider, http: aiohttp.ClientSession, path: str, query: str, headers: dict[str, str]
) -> None:
    status, body = await post(http, provider.url + path + query, headers)
    assert status == 400
    assert "Multiple authentication credentials received" in json.dumps(body)
    assert provider.arrivals[0].account == ""


@pytest.mark.parametrize(
    "headers", [{"Authorization": f"bearer {ONE}"}, {"x-api-key": ONE}, {"x-goog-api-key": ONE}, {}]
)
async def test_one_credential_may_come_in_any_of_the_four_places(
    provider: StrictProvider, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    query = "" if headers else f"?key={ONE}"
    assert (await post(http, provider.url + CHAT + query, headers))[0] == 200


@pytest.mark.parametrize(
    ("query", "headers", "taken"),
    [
        ("", {"X-My-Token": ONE}, (200, "acme")),
        (f"?token={ONE}", {}, (200, "acme")),
        ("?key=a-field-like-any-other", {}, (200, "")),
        ("", {}, (200, "")),
        (f"?token={ONE}", {"X-My-Token": TWO}, (400, "")),
        ("", {"X-My-Token": ONE, "Authorization": "Bearer of-a-client"}, (400, "")),
        ("", {"Authorization": "Bearer of-a-client"}, (401, "")),
    ],
)
async def test_a_plain_api_takes_a_key_where_it_likes_but_not_two(
    provider: StrictProvider,
    http: aiohttp.ClientSession,
    query: str,
    headers: dict[str, str],
    *,
    taken: tuple[int, str],
) -> None:
    async with http.get(provider.url + "/echo/x" + query, headers=headers) as answer:
        assert (answer.status, provider.arrivals[0].account) == taken


# --- what arrived -----------------------------------------------------------------------------------


async def test_an_echo_tells_exactly_what_arrived(provider: StrictProvider, http: aiohttp.ClientSession) -> None:
    """Raw path and query, header order and case and repetitions, and the body as compressed as it came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(provider.url.rpartition(":")[2]))
    body = b"\x1f\x8b not really gzip"
    writer.write(
        b"PUT /echo/a%2Fb//c/?q=%20+&q=2 HTTP/1.1\r\nHost: h\r\nX-a: 1\r\nx-A: 2\r\nContent-Encoding: gzip\r\n"
        + f"X-Key: {ONE}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (told["method"], told["path"], told["query"]) == ("PUT", "/echo/a%2Fb//c/", "q=%20+&q=2")
    assert told["headers"][:4] == [["Host", "h"], ["X-a", "1"], ["x-A", "2"], ["Content-Encoding", "gzip"]]
    assert (told["sha256"], told["length"]) == (hashlib.sha256(body).hexdigest(), len(body))
    assert provider.calls[-1].body == body


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/v1/batches/b_1", "/v1/messages/batches", "/v2/chat", "/"])
async def test_what_no_dialect_serves_is_echoed(
    provider: StrictProvider, http: aiohttp.ClientSession, path: str
) -> None:
    status, told = await post(http, provider.url + path, bearer())
    assert (status, told["path"]) == (200, path)


async def test_large_bodies_arrive_whole(provider: StrictProvider, http: aiohttp.ClientSession) -> None:
    body = os.urandom(5_000_000)
    async with http.post(provider.url + "/echo/", data=io.BytesIO(body), headers=bearer()) as answer:
        assert (await answer.json())["sha256"] == hashlib.sha256(body).hexdigest()


async def test_the_latest_calls_are_kept_whole(provider: StrictProvider, http: aiohttp.ClientSession) -> None:
    for number in range(KEPT_CALLS + 1):
        await post(http, provider.url + CHAT, bearer(), ASK | {"user": str(number)})
    assert len(provider.calls) == KEPT_CALLS
    assert json.loads(provider.calls[-1].body)["user"] == str(KEPT_CALLS)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (CHAT, "[1, 2]", "could not parse"),
        (CHAT, "{", "could not parse"),
        (CHAT, '{"messages": []}', "provide a model"),
        ("/v1/messages", "{", "could not parse"),
        (GEMINI, "{", "Invalid JSON"),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused(
    provider: StrictProvider, http: aiohttp.ClientSession, path: str, body: str, words: str
) -> None:
    async with http.post(provider.url + path, data=body, headers=bearer()) as answer:
        assert answer.status == 400
        assert words in await answer.text()


async def test_gemini_streams_one_json_array_without_alt_sse(
    provider: StrictProvider, http: aiohttp.ClientSession
) -> None:
    path = "/v1beta/models/gemini-2.5-pro:streamGenerateContent"
    async with http.post(provider.url + path, json={}, headers=bearer()) as answer:
        parts = json.loads(await answer.read())
    assert [part["candidates"][0].get("finishReason") for part in parts][-2:] == [None, "STOP"]
    assert parts[-1]["usageMetadata"]["totalTokenCount"] > parts[0]["usageMetadata"]["totalTokenCount"]


@pytest.mark.parametrize(
    ("path", "headers", "shape"),
    [
        ("/v1/models", bearer(), "object"),
        ("/v1beta/openai/models", bearer(), "object"),
        ("/v1/models", {"x-api-key": ONE, "anthropic-version": "2023-06-01"}, "has_more"),
        ("/v1/models", {"x-goog-api-key": ONE}, "models"),
        (f"/v1/models?key={ONE}", {}, "models"),
        ("/v1beta/models", {"x-goog-api-key": ONE}, "models"),
    ],
)
async def test_models_are_listed_in_the_callers_dialect(
    provider: StrictProvider, http: aiohttp.ClientSession, path: str, headers: dict[str, str], shape: str
) -> None:
    async with http.get(provider.url + path, headers=headers) as answer:
        assert shape in await answer.json()


# --- clients that leave, and waiting ----------------------------------------------------------------


async def test_wait_for_returns_when_enough_have_arrived(provider: StrictProvider, http: aiohttp.ClientSession) -> None:
    waiting = asyncio.create_task(provider.wait_for(lambda: len(provider.arrivals) == 2))
    await post(http, provider.url + CHAT, bearer())
    assert not waiting.done()
    await post(http, provider.url + CHAT, bearer())
    await waiting
    await provider.wait_for(lambda: len(provider.arrivals) == 2)


async def test_a_client_that_leaves_while_it_uploads_is_counted_and_cancelled(provider: StrictProvider) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", int(provider.url.rpartition(":")[2]))
    head = f"POST {CHAT} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {ONE}\r\nContent-Length: 100\r\n\r\n"
    writer.write(head.encode() + b"{")
    await provider.wait_for(lambda: provider.open == 1)
    writer.close()
    await provider.wait_for(lambda: provider.open == 0)
    (arrival,) = provider.arrivals
    assert (arrival.account, arrival.status, arrival.ended) == ("acme", 0, "cancelled")


# --- as its own process -----------------------------------------------------------------------------


async def test_it_runs_as_a_process_told_and_asked_over_http(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({ONE: "acme"}))
    given = ("--keys", str(keys), "--budgets", "[[1, 60]]", "--words", '["Hi"]')
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "sidecar.simulate.provider", *given, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    url = json.loads(await process.stdout.readline())["url"]
    faults = {"faults": [{"key": ONE, "status": 503, "times": 1}]}
    assert await post(http, url + "/_control", {}, faults) == (200, {"ok": True})
    assert (await post(http, url + CHAT, bearer()))[0] == 503
    assert (await post(http, url + CHAT, bearer()))[0] == 429
    async with http.get(url + "/_report") as answer:
        report = await answer.json()
    assert (report["counts"], report["open"]) == ({ONE: 2}, 0)
    assert [arrival["status"] for arrival in report["arrivals"]] == [503, 429]
    assert report["excess"] == [{"account": "acme", "budget": Budget(1, 60)._asdict(), "held": 2}]
    assert report["violations"][0]["held"] == 2
    await post(http, url + "/_control", {}, {"reset": True})
    _, answered = await post(http, url + CHAT, bearer())
    assert answered["choices"][0]["message"]["content"] == "Hi"
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"fault": []}, "is no order"),
        ({"faults": [{"statsu": 500}]}, "statsu"),
        ({"faults": [{"at": "end"}]}, "at is answer, first or middle"),
        ([], "attribute"),
    ],
)
async def test_an_order_that_is_not_understood_changes_nothing_and_says_why(
    provider: StrictProvider, http: aiohttp.ClientSession, order: Any, words: str
) -> None:
    status, body = await post(http, provider.url + "/_control", {}, order)
    assert status == 400
    assert words in body["error"]
    assert provider.faults == []
