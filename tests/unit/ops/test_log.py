"""Lines say what happened, each in one write, and never a secret."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp.http_exceptions import InvalidHeader

from sidecar.model.configured import Client, Config, Route, Secret, Target, Token
from sidecar.model.events import KeptChanged, KeyChanged, LimitsNamed, StoreAtRisk, StoreChanged
from sidecar.model.outcomes import NamedLimit
from sidecar.model.tokens import digest
from sidecar.ops.log import DRIFT_S, Log, take_over
from sidecar.ops.redact import redactor
from tests.unit.ops.worlds import CONFIG, FIRST, SECOND, TOKEN, answered, attempted, drifted

SECRETS = (FIRST, SECOND, quote(SECOND, safe=""), TOKEN, "the-admins-own", "pass%40word-5150", "pass@word-5150")


class Stream(io.StringIO):
    """Counts what is written at once."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def log(stream: Stream) -> Log:
    return Log(stream, "json", redact=redactor(CONFIG))


@pytest.fixture
def libraries(log: Log) -> Iterator[None]:
    """The standard logging goes through `log`, and is as before afterwards."""
    root, access = logging.getLogger(), logging.getLogger("aiohttp.access")
    before = root.handlers[:], root.level, access.disabled, logging.raiseExceptions
    root.handlers = []
    take_over(log)
    yield
    root.handlers, level, access.disabled, logging.raiseExceptions = before
    root.setLevel(level)
    logging.captureWarnings(False)


def test_a_request_is_one_json_line_with_all_that_is_known_of_it(log: Log, stream: Stream) -> None:
    log(answered(path="/v1/chat/completions?key=abc"))
    (record,) = stream.records()
    assert stream.writes == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record.pop("time"))
    assert record == {
        "level": "info",
        "msg": "request",
        "request_id": "r1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "outcome": "ok",
        "pool": "chat",
        "key": "chat-1",
        "model": "small",
        "client": "web",
        "attempts": 1,
        "total_ms": 1250.0,
        "wait_ms": 500.0,
        "acquire_ms": 1.0,
        "first_byte_ms": 600.0,
    }


def test_what_is_not_known_is_left_out_and_zero_is_known(log: Log, stream: Stream) -> None:
    log(answered(pool="", key="", client="", first_byte_s=None, attempts=0, status=404))
    (record,) = stream.records()
    assert not {"pool", "key", "client", "first_byte_ms"} & record.keys()
    assert record["attempts"] == 0


def test_text_is_for_people_and_quotes_what_has_spaces(stream: Stream) -> None:
    Log(stream)(answered(model='a "big" one'))
    line = stream.getvalue()
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert " INFO    request request_id=r1 method=POST path=/v1/chat/completions status=200 " in line
    assert r'model="a \"big\" one"' in line
    assert "\x1b" not in line


def test_colour_marks_the_level_alone(stream: Stream) -> None:
    Log(stream, colour=True).line("error", "lost", pool="chat")
    assert re.fullmatch(r"\S+ \x1b\[1;31mERROR  \x1b\[0m lost pool=chat\n", stream.getvalue())


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_client_cannot_forge_a_line_or_drive_the_terminal(style: Any, stream: Stream) -> None:
    Log(stream, style)(answered(path="/v1/x\n2026 ERROR\x1b[2J\x7f\u2028y", model="\x9b1m"))
    assert stream.getvalue().count("\n") == 1
    if style == "text":
        assert stream.getvalue()[:-1].isprintable()


@pytest.mark.parametrize("style", ["text", "json"])
def test_bytes_of_a_path_that_are_no_text_are_told_too(style: Any, stream: Stream) -> None:
    Log(stream, style)(answered(path="/v1/\udcff"))
    assert r"\udcff" in stream.getvalue()


def test_below_the_level_nothing_is_made(stream: Stream) -> None:
    log = Log(stream, level="warning", redact=lambda text: pytest.fail(f"looked at {text}"))
    log(answered())
    log(attempted())
    assert stream.writes == 0


def test_a_request_that_failed_for_the_client_is_a_warning(stream: Stream) -> None:
    Log(stream, "json", level="warning")(answered(status=502, outcome="upstream_failed"))
    assert stream.records()[0]["level"] == "warning"


def test_only_attempts_that_did_not_succeed_have_a_line(log: Log, stream: Stream) -> None:
    log(attempted())
    log(attempted(outcome="rate_limit_minute", status=429))
    (record,) = stream.records()
    assert (record["level"], record["msg"], record["outcome"], record["key"]) == (
        "warning",
        "attempt",
        "rate_limit_minute",
        "chat-1",
    )


def test_an_attempt_without_an_answer_says_why_and_one_with_one_quotes_nothing(log: Log, stream: Stream) -> None:
    log(attempted(outcome="connect", status=None, told=b"llm.example:443: Connection refused"))
    log(attempted(outcome="bad_request", status=400, told=b"your prompt was ..."))
    without, answered = stream.records()
    assert without["reason"] == "llm.example:443: Connection refused"
    assert "prompt" not in str(answered)


def test_a_rest_says_for_what_how_long_and_whether_it_is_a_suspicion(log: Log, stream: Stream) -> None:
    log(KeyChanged("chat", "chat-1", "small", "rate_limit_minute", 12.5, True, "r1"))
    log(KeyChanged("chat", "chat-1", None, "invalid_key", 30.0, False, "r1"))
    log(KeyChanged("chat", "chat-1", None, "taken back", 0, False, "r1"))
    rest, suspicion, back = stream.records()
    assert (rest["msg"], rest["reason"], rest["seconds"], rest["model"]) == (
        "key rests",
        "rate_limit_minute",
        12.5,
        "small",
    )
    assert suspicion["suspicion"] is True
    assert "suspicion" not in rest
    assert (back["msg"], back["level"]) == ("key is available again", "info")


def test_an_emptied_store_is_said_loudly(log: Log, stream: Stream) -> None:
    log(StoreChanged(up=False, reason="connection refused"))
    log(StoreChanged(up=True))
    log(StoreChanged(up=True, emptied=True, reason="emptied"))
    assert [(record["level"], record["msg"]) for record in stream.records()] == [
        ("error", "store is away"),
        ("info", "store is back"),
        ("error", "store was emptied: all budgets start from zero"),
    ]


def test_a_cache_that_keeps_nothing_and_budgets_at_risk_are_warnings(log: Log, stream: Stream) -> None:
    log(KeptChanged("answers", False, "Redis is half full"))
    log(KeptChanged("answers", True))
    log(KeptChanged("ids", False, "Redis is three quarters full"))
    log(KeptChanged("ids", True))
    log(StoreAtRisk("Redis may evict budgets"))
    log(StoreAtRisk(""))
    assert [(record["level"], record["msg"]) for record in stream.records()] == [
        ("warning", "the cache keeps no answers"),
        ("info", "the cache keeps answers again"),
        ("warning", "which account made what is not remembered any more"),
        ("info", "which account made what is remembered again"),
        ("warning", "Redis may evict budgets"),
        ("info", "Redis does not evict budgets any more"),
    ]


def test_a_reader_that_went_away_fails_nobody() -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    closed = io.StringIO()
    closed.close()
    for stream in (Gone(), closed):
        assert Log(stream).line("error", "lost") is None  # type: ignore[func-returns-value]


# --- secrets ----------------------------------------------------------------------------------------


def test_every_secret_is_its_id_wherever_a_client_puts_it(log: Log, stream: Stream) -> None:
    for secret in SECRETS:
        log(answered(path=f"/v1/{secret}/x", model=secret))
        log.line("warning", f"met {secret}.")
    told = stream.getvalue()
    assert not [secret for secret in SECRETS if secret in told]
    assert [record["model"] for record in stream.records()[::2]] == [
        "chat-1",
        "chat-2",
        "chat-2",
        "web",
        "admin_token",
        "redis-password",
        "redis-password",
    ]


def test_a_secret_is_its_id_again_however_much_was_told_since() -> None:
    redact = redactor(CONFIG)
    for round_ in range(2):
        assert redact(f"/{FIRST}") == "/chat-1"
        assert all(redact(text) == text for text in (f"/{round_}/{at}" for at in range(3000)))


def test_a_config_without_secrets_changes_no_text() -> None:
    assert redactor(Config({}))("as it is") == "as it is"


def test_what_a_target_says_in_a_secretive_header_is_told_by_the_headers_name() -> None:
    secrets = ((Secret("gw-5150-word"), "x-gateway-token"),)
    config = replace(CONFIG, routes={"m": Route((Target("chat", "m", secrets=secrets),))})
    assert redactor(config)("search: gw-5150-word") == "search: x-gateway-token"


def test_a_virtual_key_is_told_by_its_shape_where_the_config_knows_its_hash_alone() -> None:
    """Whoever's it is, one that lies across the end of what is told, and one that was cut off before."""
    token = "sk-sidecar-" + "Az09_-" * 7 + "x"
    for redact in (redactor(CONFIG), redactor(Config({}))):
        assert redact(f"/v1/{token}/x, {token}, {token[:20]}") == "/v1/virtual-key/x, virtual-key, virtual-key"
        assert redact.head(f"a {token} b", 8) == redact.head(f"a {token} b", 2 + len("virtual-key")) == "a virtual-key"
        assert redact("a sk-sidecar b") == "a sk-sidecar b"
    ours = Client("own", (Token(digest(token), secret=Secret(token)),))
    assert redactor(replace(CONFIG, clients=(ours,)))(f"{token}, {token[:-1]}y") == "own, virtual-key"


@pytest.mark.parametrize("form", ["%{:02x}", "&#{};", "\\u{:04x}"])
@pytest.mark.parametrize("secret", [FIRST, SECOND, TOKEN])
def test_a_secret_whose_letters_are_escaped_is_its_id_too(form: str, secret: str) -> None:
    """Also where it lies across the end of what is told."""
    written, redact = "".join(form.format(ord(sign)) for sign in secret), redactor(CONFIG)
    assert redact(f"a {written}, {secret}") == redact(f"a {secret}, {secret}")
    assert redact.head(f"a {written} b", 4) == redact.head(f"a {secret} b", 4) != f"a {secret} b"[:4]


# --- libraries --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("libraries")
def test_a_traceback_is_one_json_line_without_secrets(stream: Stream) -> None:
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError(f"worse {SECOND}") from ValueError(f"bad {FIRST}")
    logging.getLogger("aiohttp.server").error("Error handling request with %s", TOKEN, exc_info=caught.value)
    (record,) = stream.records()
    assert record["level"] == "error"
    assert record["logger"] == "aiohttp.server"
    assert record["msg"] == "Error handling request with web"
    assert "RuntimeError: worse chat-2" in record["traceback"]
    assert "ValueError: bad chat-1" in record["traceback"]
    assert not [secret for secret in SECRETS if secret in stream.getvalue()]


def test_a_traceback_on_a_terminal_stands_below_its_line_in_the_same_write(stream: Stream) -> None:
    Log(stream).line("error", "failed", traceback="one\n  two")
    assert stream.getvalue().endswith(" ERROR   failed\n    one\n      two\n")
    assert stream.writes == 1


@pytest.mark.usefixtures("libraries")
async def test_a_task_that_nobody_awaits_is_told_as_a_line(stream: Stream) -> None:
    async def fail() -> None:
        raise ValueError(FIRST)

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    del task
    (record,) = stream.records()
    assert record["logger"] == "asyncio"
    assert "chat-1" in record["traceback"]
    assert FIRST not in stream.getvalue()


@pytest.mark.usefixtures("libraries")
def test_a_malformed_request_does_not_quote_its_headers(stream: Stream) -> None:
    wrong = InvalidHeader(b"Authorization: Bearer somebody's\x00")
    logging.getLogger("aiohttp.server").error("Error handling request from 127.0.0.1", exc_info=wrong)
    (record,) = stream.records()
    assert (record["msg"], record["error"]) == ("malformed request", "InvalidHeader")
    assert "somebody" not in stream.getvalue()


@pytest.mark.usefixtures("libraries")
def test_debug_lines_of_libraries_access_lines_and_broken_formats_do_no_harm(stream: Stream) -> None:
    logging.getLogger("aiohttp.client").debug("Authorization: %s", "secret of nobody")
    logging.getLogger("aiohttp.access").error("GET /")
    logging.getLogger("redis").warning("%d keys", "no number")
    assert [record["msg"] for record in stream.records()] == ["%d keys"]


@pytest.mark.usefixtures("libraries")
def test_warnings_are_lines(stream: Stream) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old\nways", UserWarning, stacklevel=1)
        logging.captureWarnings(False)
    assert "old ways" in stream.records()[0]["msg"]


# --- drifts -----------------------------------------------------------------------------------------


def test_a_drift_says_what_to_configure(stream: Stream) -> None:
    Log(stream, "json")(drifted(named=NamedLimit("requests", "minute", 4), count=3))
    (record,) = stream.records()
    assert record.pop("time")
    assert record == {
        "level": "warning",
        "msg": "the provider refused although the budget had room",
        "request_id": "r1",
        "pool": "chat",
        "key": "chat-1",
        "model": "small",
        "outcome": "rate_limit_minute",
        "ours": "10 requests per minute",
        "named": "4 requests per minute",
        "drifts": 3,
        "configure": "pools.chat.limits: {requests: 4, per: minute}",
    }


def test_a_key_that_keeps_drifting_is_told_once_a_minute(stream: Stream) -> None:
    now = 1000.0
    log = Log(stream, "json", clock=lambda: now)
    for key in ("chat-1", "chat-2", "chat-1"):
        log(drifted(key=key))
    assert [record["key"] for record in stream.records()] == ["chat-1", "chat-2"]
    now += DRIFT_S
    log(drifted(count=9))
    assert stream.records()[-1]["drifts"] == 9


def test_limits_of_successes_are_no_lines(log: Log, stream: Stream) -> None:
    log(LimitsNamed("chat", "chat-1", "small", (NamedLimit("requests", "minute", 4),)))
    assert stream.writes == 0
