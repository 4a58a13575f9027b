"""Which ids a call names, and which an answer shows: as providers write them, and nothing that only looks like one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.providers import belonging
from sidecar.providers.belonging import named, named_in_path

FILE, OTHER = "file-6F2ksmvXxt4VdoqmHRw6kL", "file-9Gabc1defGHI2jklMNO3pq"
RESPONSE = "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b"
ITEM = "rs_67ccd3acc8d48190a77525dc6de64b4104becb25c45c1d42"
SEALED = "gAAAAABo" + "x-_9" * 100
SESSION, MADE = "sesn_011CZkZAtmR3yMPDzynEDxu7", "new_kind_68e554e0b2c08190"
UUID = "f47ac10b-58cc-4372-a567-0e02b2c3d479"
NOW_S = 1_700_000_000.0


def of(operation: str, body: object, query: str = "") -> list[str]:
    return list(named(operation, query, json.dumps(body).encode()))


# --- what a call names ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "found"),
    [
        (f"files/{FILE}/content", [FILE]),
        (f"v1/files/{FILE}", [FILE]),
        (f"vector_stores/vs_abc123abc123/files/{FILE}", ["vs_abc123abc123", FILE]),
        ("files/abc-123", ["files/abc-123"]),
        ("files/abc:download", ["files/abc"]),
        ("cachedContents/xyz", ["cachedContents/xyz"]),
        ("models/veo-3/operations/abc", ["operations/abc"]),
        ("tunedModels/mine:generateContent", ["tunedModels/mine"]),
        ("messages/batches/msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d/results", ["msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d"]),
        ("models/ft:gpt-4o-mini:acme::abc", ["ft:gpt-4o-mini:acme::abc"]),
        (f"batch/jobs/{UUID}", [UUID]),
        (f"sessions/{SESSION}/resources/{MADE}", [SESSION, MADE]),
        (f"deployments/{MADE}/run", [MADE]),
        (f"webhooks/{MADE}:ping", [MADE]),
        (f"agents/sessions/{SESSION}/artifacts/{MADE}/content", [SESSION, MADE]),
        (f"models/{MADE}", []),
        (f"openai/deployments/{MADE}/chat/completions", []),
        ("realtime/calls/rtc_u1_9c6574da8b8a41a18da9308f4ad974ce/hangup", ["rtc_u1_9c6574da8b8a41a18da9308f4ad974ce"]),
        ("files%2Fabc", []),
        ("files/%E4%BD%A0", ["files/\u4f60"]),
        ("chat/completions", []),
        ("files", []),
        ("files/", []),
    ],
)
def test_path(operation: str, found: list[str]) -> None:
    assert named_in_path(operation) == tuple(found)


def test_query() -> None:
    """Cursors of lists, and the upload that a URL is for."""
    query = f"limit=20&after={FILE}&order=desc&upload_id=AbC-9&name=files%2Fabc"
    assert list(named("files", query, b"")) == [FILE, "files/abc", "upload_id=AbC-9"]


def test_body_of_responses() -> None:
    """Deep inside, and what is encrypted by itself; a field's name and a text that mentions one are none."""
    content = [{"type": "input_file", "file_id": FILE}, {"type": "input_text", "text": f'use "{OTHER}" and {OTHER}'}]
    asked = [{"type": "reasoning", "id": ITEM, "encrypted_content": SEALED}, {"role": "user", "content": content}]
    body = {"model": "o3", "previous_response_id": RESPONSE, "input": asked, OTHER: 1, "metadata": {"user": UUID}}
    assert of("responses", body) == [RESPONSE, ITEM, f"~{SEALED[:256]}", FILE]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc-1"}, ["files/abc-1"]),
        ({"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc:download?alt=media"}, ["files/abc"]),
        ({"cachedContent": "cachedContents/xyz"}, ["cachedContents/xyz"]),
        ({"url": "https://example.com/a/files"}, []),
        ({"name": "models/veo/operations/abc"}, ["operations/abc"]),
    ],
)
def test_body_of_google(body: Any, found: list[str]) -> None:
    assert of("models/gemini-2.0-flash:generateContent", {"contents": [{"parts": [body]}]}) == found


def test_escaped_slashes_are_slashes() -> None:
    """As PHP writes them."""
    body = rb'{"fileUri": "https:\/\/generativelanguage.googleapis.com\/v1beta\/files\/abc", "c": "cachedContents\/x"}'
    assert list(named("models/g:generateContent", "", body)) == ["files/abc", "cachedContents/x"]


def test_what_is_sealed_may_be_escaped() -> None:
    """As PHP and .NET write base64, in a call and in an answer, long and short."""
    for sealed in ("gAAA/+Bo=" * 60, "gAAA/+Bo=" * 3):
        body = json.dumps({"input": [{"encrypted_content": sealed}]})
        for text in (body, body.replace("/", "\\/"), body.replace("/", "\\u002F").replace("+", "\\u002b")):
            assert list(named("responses", "", text.encode())) == [f"~{sealed[:256]}"]
            assert list(shows(text.encode(), "responses", body=b'{"store": false}')) == [f"~{sealed[:256]}"]


def test_a_letter_may_be_written_by_its_number() -> None:
    body = rb'{"file_id": "\u0066ile\u002d6F2ksmvXxt4VdoqmHRw6k\u004C"}'
    assert list(named("responses", "", body)) == ["file-6F2ksmvXxt4VdoqmHRw6kL"]
    assert list(named("responses", "", memoryview(body))) == ["file-6F2ksmvXxt4VdoqmHRw6kL"]


def test_a_uuid_in_a_prompt_is_a_file_where_it_is_named_as_one() -> None:
    """Mistral's files have UUIDs, and an app's users may."""
    content = [{"type": "file", "file_id": UUID}, {"type": "text", "text": UUID.replace("f", "a")}]
    assert of("chat/completions", {"messages": [{"content": content}], "user": UUID.replace("f", "b")}) == [UUID]
    assert of("chat/completions", {"metadata": {"file_id": UUID}, "tools": [{"input_schema": {"file_id": UUID}}]}) == []


def test_what_only_looks_like_an_id_costs_nothing() -> None:
    """Names of tools and of a client's own things."""
    tools = [
        {"type": "function", "function": {"name": name}} for name in ("run_in_terminal", "file_search", "step_by_step")
    ]
    body = {
        "model": "gpt-4o",
        "tools": tools,
        "user": UUID,
        "messages": [{"role": "user", "content": "a file- batch_"}],
    }
    assert of("chat/completions", body) == []


def test_uuids_count_where_a_call_is_about_a_resource() -> None:
    assert of("batch/jobs", {"input_files": [UUID], "model": "mistral-small"}) == [UUID]


def test_what_looks_minted_counts_where_a_call_is_about_a_resource() -> None:
    """Of a kind that nobody knew, too. In a prompt it is nobody's, and steps of a conversation are never a thing."""
    steps = {
        "tool_use_id": "toolu_01D7FLrfh4GYq7yT1ULFeyMV",
        "call_id": "call_abc123abc123abc1",
        "custom_id": "task_000000000001",
    }
    body = {"agent": MADE, "environment_id": SESSION, "events": [steps]}
    assert of("sessions", body) == [MADE, SESSION]
    assert of("messages", body) == []
    assert of("sessions", {}, f"agent_id={MADE}") == [MADE]


def test_of_a_long_conversation_the_newest_count() -> None:
    ids = [f"rs_{at:024d}" for at in range(400)]
    assert of("responses", {"input": [{"id": one} for one in ids]}) == ids[-belonging.MOST :]


def test_the_newest_of_many_ids_displace_none_of_the_url() -> None:
    """A batch of 500 files goes into the store that the path names."""
    ids = [f"file-{at:024d}" for at in range(400)]
    store = "vector_stores/vs_abc123abc123/file_batches"
    assert of(store, {"file_ids": ids}) == ["vs_abc123abc123", *ids[1 - belonging.MOST :]]


def test_a_mapped_body_is_read_as_any_other() -> None:
    body = json.dumps({"file_id": FILE}).encode()
    assert list(named("batches", "", memoryview(body))) == [FILE]


# --- what an answer shows ---------------------------------------------------------------------------


def shows(answer: bytes, operation: str = "files", method: str = "POST", body: bytes = b"{}") -> dict[str, int]:
    """As it comes whole, and cut at every byte: the same."""
    found = []
    for size in (len(answer), 1, 7):
        shown = belonging.shown(method, operation, body, NOW_S)
        assert shown is not None
        taken: dict[str, int] = {}
        for start in range(0, len(answer), size):
            shown.feed(answer[start : start + size])
            taken |= shown.take()
        found.append(taken)
    assert found[0] == found[1] == found[2]
    return found[0]


MONTH_S = 30 * 86_400


def test_a_file_is_kept_until_it_is_deleted_or_ends() -> None:
    told = {"id": FILE, "object": "file", "created_at": 1, "expires_at": None, "filename": OTHER}
    assert shows(json.dumps(told).encode()) == {FILE: MONTH_S}
    assert shows(json.dumps(told | {"expires_at": int(NOW_S) + 3600}).encode())[FILE] == 3600
    assert shows(json.dumps(told | {"expires_at": int(NOW_S) - 1}).encode())[FILE] == MONTH_S


def test_googles_things_end_when_they_say() -> None:
    file = {
        "name": "files/abc",
        "expirationTime": "2023-11-15T22:13:20.123456789Z",
        "uri": "https://g/v1beta/files/abc",
    }
    assert shows(json.dumps({"file": file}).encode()) == {"files/abc": 86_400}
    cache = {"name": "cachedContents/x", "model": "models/g", "expireTime": "2023-11-14T22:23:20Z"}
    assert shows(json.dumps(cache, indent=2).encode(), "cachedContents") == {"cachedContents/x": 600}


def test_a_batch_outlives_the_time_that_it_may_run() -> None:
    told = {"id": "batch_abc123abc123", "input_file_id": FILE, "output_file_id": OTHER, "error_file_id": None}
    body = json.dumps(told | {"expires_at": int(NOW_S) + 60}).encode()
    assert shows(body, "batches/batch_abc123abc123", "GET") == dict.fromkeys(
        ["batch_abc123abc123", FILE, OTHER], MONTH_S
    )


def test_only_what_is_told_as_an_id_counts() -> None:
    """The rest may be the client's own words."""
    told = {"id": "thread_abc123abc123", "metadata": {"source": FILE}, "instructions": OTHER, "result_files": [FILE]}
    assert set(shows(json.dumps(told).encode(), "threads")) == {"thread_abc123abc123", FILE}
    assert set(shows(json.dumps(told | {"result_files": []}).encode(), "threads")) == {"thread_abc123abc123"}


@pytest.mark.parametrize(
    ("told", "query"),
    [
        ({"files": [], "nextPageToken": "Ch0KG2dlbmVyYXRpdmU="}, "pageSize=5&pageToken=Ch0KG2dlbmVyYXRpdmU%3D"),
        ({"data": [], "next_page": "page_MjAyNS0wNS0xNFQwMDo"}, "page=page_MjAyNS0wNS0xNFQwMDo"),
        ({"data": [], "next_page": "page_MjAyNS0wNS0xNFQwMDo="}, "page_token=page_MjAyNS0wNS0xNFQwMDo%3D"),
        ({"data": [], "next": "eyJhZnRlciI6MTd9"}, "limit=2&after=eyJhZnRlciI6MTd9"),
    ],
)
@pytest.mark.parametrize("rows", [0, 1100])
def test_the_next_page_of_a_list_is_its_accounts(told: dict[str, Any], query: str, rows: int) -> None:
    """However long this one is, and however the token is escaped."""
    told = {"rows": [{"id": f"file-{at:024d}"} for at in range(rows)]} | told
    for text in (json.dumps(told), json.dumps(told).replace("=", "\\u003d")):
        shown = belonging.shown("GET", "files", b"", NOW_S)
        assert shown
        shown.feed(text.encode())
        (page,) = (thing for thing in shown.take() if thing.startswith("page="))
        assert page in named("files", query, b"")
        assert page not in named("files", query + "x", b"")


def test_what_tells_nobodys_page_is_none() -> None:
    """A number, a URL, and none at all; nor does a call that asks for the second page name one."""
    for told in ("2", "", None, "https://api.example.com/v1/files?page=2"):
        assert not shows(json.dumps({"next": told, "next_page": told, "nextPageToken": told}).encode(), "files", "GET")
    assert not named("files", "page=2&after=1718000000&pageToken=", b"")


def test_what_is_made_is_kept_and_not_what_it_consists_of() -> None:
    """That is named below it: a session may tell a thousand events."""
    told = json.dumps({"data": [{"id": MADE}, {"id": FILE}], "request_id": "req_011CZkZAtmR3yMPDzynEDxu7"}).encode()
    for method, operation, things in (
        ("POST", "sessions", {MADE, FILE}),
        ("POST", f"deployments/{SESSION}/run", {MADE, FILE}),
        ("GET", "sessions", {MADE, FILE}),
        ("GET", f"sessions/{SESSION}/events", {FILE}),
        ("POST", "responses", {FILE}),
    ):
        assert set(shows(told, operation, method)) == things


MESSAGE, VOICE, CONSENT = "msg_01XFDUDYJgAACzvnptvVoYEL", "voice_6a1b2c3d4e5f60718293", "cons_6a1b2c3d4e5f60718293"


@pytest.mark.parametrize(
    ("operation", "body", "told", "thing"),
    [
        ("chat/completions", b'{"deferred": true}', {"request_id": UUID}, UUID),  # xAI's
        ("async/chat/completions", b"{}", {"id": UUID, "status": "CREATED"}, UUID),  # Perplexity's
        ("messages", b'{"thread": {"type": "create"}}', {"id": MESSAGE, "content": []}, MESSAGE),
        ("audio/voices", b"", {"object": "audio.voice", "id": VOICE}, VOICE),
        ("audio/voice_consents", b"", {"object": "audio.voice_consent", "id": CONSENT}, CONSENT),
    ],
)
def test_what_is_made_beside_an_answer_is_known_by_its_id(operation: str, body: bytes, told: Any, thing: str) -> None:
    """A completion for later, a conversation that Anthropic keeps, a voice."""
    assert list(shows(json.dumps(told).encode(), operation, body=body)) == [thing]
    if body:
        assert belonging.shown("POST", operation.removeprefix("async/"), b'{"messages": []}', NOW_S) is None


def test_what_was_made_beside_an_answer_is_named() -> None:
    assert of(f"chat/deferred-completion/{UUID}", {}) == [UUID]
    assert of(f"async/chat/completions/{UUID}", {}) == [UUID]
    assert of("messages", {"thread": {"type": "continue", "previous_message_id": MESSAGE}}) == [MESSAGE]
    assert of("audio/speech", {"input": "hi", "voice": {"id": VOICE}}) == [VOICE]
    assert of("audio/voices", {"consent": CONSENT}) == of(f"audio/voice_consents/{CONSENT}", {}) == [CONSENT]
    assert list(shows(json.dumps({"data": [{"id": UUID}]}).encode(), "async/chat/completions", "GET")) == [UUID]


def test_the_credit_of_a_refusal_is_its_accounts_for_five_minutes() -> None:
    """Whose beta was asked for; in either form in which it is redeemed."""
    token = "AbC+/9=" * 40
    told = {"id": MESSAGE, "stop_details": {"type": "refusal", "fallback_credit_token": token}}
    credit = f"credit={token[:256]}"
    reader = belonging.shown("POST", "messages", b"{}", NOW_S, "a-2026-01-01,fallback-credit-2026-07-01")
    assert reader
    reader.feed(json.dumps(told).encode())
    assert reader.take() == {credit: 300}
    assert shows(json.dumps(told).encode(), "messages", body=b'{"thread": {}}').keys() == {MESSAGE, credit}
    for redeemed in (token, {"token": token}, {"mode": "best_effort", "token": token}):
        assert of("messages", {"fallback_credit_token": redeemed}) == [credit]
    for operation, beta in (("messages", "a-2026-01-01"), ("messages/count_tokens", "fallback-credit-2026-07-01")):
        assert belonging.shown("POST", operation, b"{}", NOW_S, beta) is None


def test_of_a_long_list_the_first_are_kept() -> None:
    rows = [{"id": f"file-{at:024d}"} for at in range(3000)]
    shown = belonging.shown("GET", "files", b"", NOW_S)
    assert shown
    shown.feed(json.dumps({"data": rows}).encode())
    assert list(shown.take()) == [row["id"] for row in rows[: belonging.MOST_SHOWN]]


STREAM = (
    b'event: response.created\ndata: {"type":"response.created","response":{"id":"%b","store":true}}\n\n'
    b'event: response.output_item.done\ndata: {"type":"response.output_item.done","item":{"id":"%b",'
    b'"type":"reasoning","encrypted_content":"%b"}}\n\n' % (RESPONSE.encode(), ITEM.encode(), SEALED.encode())
)


def test_a_stream_shows_a_response_and_what_was_thought() -> None:
    week_s = 7 * 86_400
    sealed = f"~{SEALED[:256]}"
    assert shows(STREAM, "responses") == {RESPONSE: MONTH_S, ITEM: week_s, sealed: week_s}
    assert shows(STREAM, "responses", body=b'{"store": false}') == {sealed: week_s}


def test_an_id_is_new_once() -> None:
    shown = belonging.shown("POST", "files", b"", NOW_S)
    assert shown
    for _ in range(3):
        shown.feed(b'{"id": "%b"}\n\n' % FILE.encode())
    assert shown.take() == {FILE: MONTH_S}
    assert shown.take() == {}


@pytest.mark.parametrize(
    ("method", "operation", "body"),
    [
        ("POST", "chat/completions", b'{"messages": []}'),
        ("POST", "messages", b'{"messages": []}'),
        ("POST", "messages/count_tokens", b"{}"),
        ("POST", "embeddings", b"{}"),
        ("POST", "v1/embeddings", b"{}"),
        ("POST", "images/generations", b"{}"),
        ("POST", "audio/transcriptions", b""),
        ("POST", "audio/speech", b"{}"),
        ("POST", "models/g:streamGenerateContent", b"{}"),
        ("POST", "models/g:batchEmbedContents", b"{}"),
        ("GET", f"files/{FILE}/content", b""),
        ("GET", "models", b""),
        ("DELETE", f"files/{FILE}", b""),
    ],
)
def test_what_makes_nothing_is_not_looked_at(method: str, operation: str, body: bytes) -> None:
    assert belonging.shown(method, operation, body, NOW_S) is None


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("chat/completions", b'{"store": true}'),
        ("chat/completions", b'{"modalities": ["text", "audio"], "audio": {}}'),
        ("chat/completions", b'{"deferred": true}'),
        ("async/chat/completions", b'{"request": {"messages": []}}'),
        ("messages", b'{"tools": [{"type": "code_execution_20250825"}]}'),
        ("messages", b'{"thread": {"type": "create"}}'),
        ("audio/voices", b""),
        ("audio/voice_consents", b""),
        ("models/veo-3:predictLongRunning", b"{}"),
        ("models/g:batchGenerateContent", b"{}"),
        ("messages/batches", b"{}"),
        ("brand/new", b"{}"),
    ],
)
def test_what_may_be_asked_for_again_is_looked_at(operation: str, body: bytes) -> None:
    assert belonging.shown("POST", operation, body, NOW_S) is not None
