"""What the strict provider says when tokens, a month or requests in flight are too many, and how it is ordered."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from sidecar.model.classes import Class
from sidecar.providers.catalogue import DIALECTS, preset
from sidecar.providers.dialect import Answer
from sidecar.simulate.budgets import SECOND_NS, Budget
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from sidecar.simulate.tokens import IMAGE_TOKENS, INPUT_TOKENS, WORDS

ONE, TWO = "secret-of-key-one", "secret-of-key-two"
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
GEMINI = "/v1beta/models/m:generateContent"
PATHS = {"openai": CHAT, "anthropic": MESSAGES, "gemini": GEMINI}
TEXT: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"content": "one two three " * 10}]},
    MESSAGES: {"messages": [{"content": "one two three " * 10}]},
    GEMINI: {"contents": [{"parts": [{"text": "one two three " * 10}]}]},
}
NOON_NS = int(datetime(2026, 5, 5, 12, tzinfo=UTC).timestamp()) * SECOND_NS


async def post(
    http: aiohttp.ClientSession, strict: StrictProvider, path: str = CHAT, body: Any = None, key: str = ONE
) -> tuple[int, dict[str, str], bytes]:
    given = {"model": "m"} | (TEXT[path] if body is None else body)
    async with http.post(strict.url + path, json=given, headers={"Authorization": f"Bearer {key}"}) as answer:
        return answer.status, {name.lower(): text for name, text in answer.headers.items()}, await answer.read()


def noon() -> int:
    return NOON_NS


# --- tokens -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", list(PATHS))
async def test_what_is_told_is_what_is_counted_and_what_the_sidecar_reads(
    http: aiohttp.ClientSession, dialect: str, stream: bool
) -> None:
    """Ordered tokens, with cached input and thoughts, whole and streaming."""
    path = PATHS[dialect]
    body: dict[str, Any] = TEXT[path] | {"stream": stream, "stream_options": {"include_usage": True}}
    query = path.replace(":generateContent", ":streamGenerateContent?alt=sse") if stream else path
    async with StrictProvider([ONE]) as strict:
        strict.faults.append(Fault(tokens={"input": 500, "cached": 400, "output": 70, "reasoning": 60}))
        _, headers, data = await post(http, strict, query, body)
        (arrival,) = strict.arrivals
    assert (arrival.input, arrival.output, arrival.cached) == (500, 70, 400)
    operation = query.rpartition("/")[2].partition("?")[0]
    reader = DIALECTS[dialect].reader("POST", operation, headers["content-type"])
    reader.feed(data)
    reader.close()
    assert reader.usage
    assert (reader.usage.input, reader.usage.total, reader.usage.cached) == (500, 570, 400)


async def test_a_call_costs_its_text_its_images_and_the_words_that_fit(http: aiohttp.ClientSession) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    async with StrictProvider([ONE]) as strict:
        _, _, told = await post(http, strict, body={"messages": [{"content": "hi"}]})
        await post(http, strict, body={"messages": [{"content": ["a b c d e f g h, " * 4, image]}], "max_tokens": 2})
        _, _, cut = await post(http, strict, body={"max_tokens": 2})
        await post(http, strict, "/v1/embeddings", {"input": ["one"] * 20})
        counted = [(arrival.input, arrival.output) for arrival in strict.arrivals]
    assert counted[0] == (INPUT_TOKENS, len(WORDS))
    assert counted[1] == (4 * 9 + IMAGE_TOKENS + 2, 2)
    assert counted[3] == (20, 0)
    assert json.loads(told)["usage"]["total_tokens"] == INPUT_TOKENS + len(WORDS)
    assert json.loads(cut)["choices"][0]["finish_reason"] == "length"


async def test_an_error_costs_no_tokens_but_counts_as_a_request(http: aiohttp.ClientSession) -> None:
    budgets = [Budget(10, 60), Budget(1000, 60, unit="tokens")]
    async with StrictProvider([ONE], budgets) as strict:
        strict.faults.append(Fault(status=503, times=1))
        await post(http, strict)
        assert strict.worst(ONE) == {budgets[0]: 1, budgets[1]: 0}


@pytest.mark.parametrize(
    ("dialect", "budget", "kind", "status", "words"),
    [
        (
            "openai",
            Budget(40, 60, unit="tokens"),
            Class.RATE_LIMIT_TOKENS,
            429,
            "on tokens per min (TPM): Limit 40, Used",
        ),
        ("openai", Budget(2, 60, unit="tokens"), Class.BAD_REQUEST, 429, "Request too large for m"),
        ("openai", Budget(1, calendar="day"), Class.RATE_LIMIT_DAY, 429, "requests per day (RPD): Limit 1, Used 1"),
        ("openai", Budget(1, calendar="month"), Class.BILLING, 429, "insufficient_quota"),
        ("anthropic", Budget(40, 60, unit="input_tokens"), Class.RATE_LIMIT_TOKENS, 429, "40 input tokens per minute"),
        ("anthropic", Budget(8, 60, unit="output_tokens"), Class.RATE_LIMIT_TOKENS, 429, "8 output tokens per minute"),
        ("anthropic", Budget(1, calendar="month"), Class.BILLING, 400, "regain access on 2026-06-01 at 00:00 UTC"),
        (
            "gemini",
            Budget(40, 60, "m", unit="input_tokens"),
            Class.RATE_LIMIT_TOKENS,
            429,
            "GenerateContentInputTokensPerModelPerMinute-FreeTier",
        ),
        ("gemini", Budget(1, calendar="day"), Class.RATE_LIMIT_DAY, 429, "GenerateRequestsPerDayPerProject-FreeTier"),
        ("gemini", Budget(1, calendar="month"), Class.BILLING, 429, "monthly spending cap"),
    ],
)
async def test_a_refusal_is_worded_as_its_provider_words_it(
    http: aiohttp.ClientSession, dialect: str, budget: Budget, kind: Class, status: int, words: str
) -> None:
    """And is understood as what it is."""
    async with StrictProvider([ONE], [budget], clock=noon) as strict:
        await post(http, strict, PATHS[dialect])
        got, headers, body = await post(http, strict, PATHS[dialect])
    assert (got, words in body.decode()) == (status, True)
    provider = preset(dialect).at("https://api.example.com")
    assert DIALECTS[dialect].classify(provider, Answer(got, headers, body, NOON_NS / 1e9)).kind is kind
    assert ONE not in body.decode()


async def test_google_says_nothing_of_a_days_end(http: aiohttp.ClientSession) -> None:
    """As recorded: its RetryInfo names seconds where half a day is left."""
    async with StrictProvider([ONE], [Budget(1, calendar="day", zone="UTC")], clock=noon) as strict:
        await post(http, strict, GEMINI)
        _, _, body = await post(http, strict, GEMINI)
        assert json.loads(body)["error"]["details"][2]["retryDelay"] == "22s"
        assert strict.violations[0].retry_ns == 12 * 3600 * SECOND_NS


# --- in flight --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (CHAT, "request reached max organization concurrency: 2, please try again after 1 seconds"),
        (MESSAGES, "Number of concurrent connections has exceeded your rate limit"),
        (GEMINI, "Resource has been exhausted (e.g. check quota)."),
    ],
)
async def test_too_many_in_flight_are_refused_until_one_has_left(
    http: aiohttp.ClientSession, path: str, words: str
) -> None:
    async with StrictProvider({ONE: "acme", TWO: "acme"}, [Budget(2, unit="concurrency")]) as strict:
        strict.faults += [Fault(hang=True, times=1), Fault(hold=True, times=1)]
        open_ = [asyncio.create_task(post(http, strict, path, key=key)) for key in (ONE, TWO)]
        await strict.wait_for(lambda: all(fault.times == 0 for fault in strict.faults))
        status, _, body = await post(http, strict, path)
        assert (status, words in body.decode()) == (429, True)
        strict.release()
        assert [(await one)[0] for one in open_] == [200, 200]
        assert (await post(http, strict, path))[0] == 200
        assert (strict.most_in_flight(), strict.most_in_flight("nobody")) == (3, 0)
        assert [peak.held for peak in strict.excess()] == [3]


async def test_one_after_the_other_are_never_two_in_flight(http: aiohttp.ClientSession) -> None:
    """It has left before its last byte: who sends the next at once finds room. So has one whose client hung up."""
    async with StrictProvider([ONE], [Budget(1, unit="concurrency")]) as strict:
        for number in range(30):
            assert (await post(http, strict, body={"stream": bool(number % 2)}))[0] == 200
        strict.faults.append(Fault(hang=True, times=1))
        lost = asyncio.create_task(post(http, strict))
        await strict.wait_for(lambda: strict.faults[0].times == 0)
        lost.cancel()
        await asyncio.gather(lost, return_exceptions=True)
        assert (await post(http, strict))[0] == 200
        assert strict.excess() == []


async def test_a_held_stream_shows_its_first_half_and_ends_after_release(
    http: aiohttp.ClientSession,
) -> None:
    async with StrictProvider([ONE]) as strict:
        strict.faults.append(Fault(hold=True, times=1))
        headers = {"Authorization": f"Bearer {ONE}"}
        async with http.post(strict.url + CHAT, json={"model": "m", "stream": True}, headers=headers) as answer:
            begun = await answer.content.readany()
            assert strict.open == 1
            strict.release()
            whole = begun + await answer.content.read()
    assert b"Hello" in begun
    assert b"[DONE]" not in begun
    assert whole.endswith(b"data: [DONE]\n\n")


# --- throttle and clock -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", [CHAT, MESSAGES, GEMINI])
async def test_a_throttle_says_the_same_to_every_account_until_it_is_over(
    http: aiohttp.ClientSession, path: str
) -> None:
    async with StrictProvider([ONE, TWO], clock=noon) as strict:
        strict.throttle(5)
        refused = [await post(http, strict, path, key=key) for key in (ONE, TWO)]
        strict.offset_s += 5
        served = await post(http, strict, path)
    (one, first_headers, body), (two, _, same) = refused
    assert (one, two, served[0], body) == (429, 429, 200, same)
    assert not any("retry" in name or "ratelimit" in name for name in first_headers)


@pytest.mark.parametrize(
    ("offset_s", "statuses"),
    [
        (0.0, [200, 429]),
        (43_199.0, [200, 429]),
        (43_200.0, [200, 200]),
        (-43_200.0, [200, 429]),
        (-43_201.0, [200, 200]),
    ],
)
async def test_its_clock_is_set_forward_and_back(
    http: aiohttp.ClientSession, offset_s: float, statuses: list[int]
) -> None:
    """Half a day from noon is another day, or nearly."""
    async with StrictProvider([ONE], [Budget(1, calendar="day")], clock=noon) as strict:
        first, _, _ = await post(http, strict)
        strict.offset_s = offset_s
        second, _, _ = await post(http, strict)
    assert [first, second] == statuses


async def test_all_of_it_is_ordered_and_told_over_http(http: aiohttp.ClientSession) -> None:
    budgets: list[dict[str, Any]] = [{"max": 20, "window_s": 60, "unit": "tokens"}, {"max": 9, "unit": "concurrency"}]

    async def order(**given: Any) -> int:
        async with http.post(strict.url + "/_control", json=given) as answer:
            return answer.status

    async with StrictProvider([ONE], budgets) as strict:
        assert await order(throttle_s=60, offset_s=30, faults=[{"tokens": {"input": 15, "output": 6}}]) == 200
        assert (await post(http, strict))[0] == 429
        assert await order(throttle_s=0) == 200
        assert await order(faults=[{"tokens": {"inputs": 15}}]) == 400
        assert await order(offset_s="soon") == 400
        async with http.get(strict.url + "/_report") as answer:
            told = await answer.json()
    assert [(peak["held"], peak["overrun"]) for peak in told["worst"]] == [(21, 1), (1, 0)]
    assert told["most_in_flight"] == 1
    assert told["arrivals"][0]["output"] == 6
    strict.offset_s = 0
    assert strict.now_ns < told["arrivals"][0]["at_ns"]
