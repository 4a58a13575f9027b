"""How an answer reaches its client: its head, what of it may be shown, and whether its body is all there."""

from __future__ import annotations

from aiohttp import web
from multidict import CIMultiDict

from sidecar.model.headers import HOP_BY_HOP
from sidecar.model.redaction import hide
from sidecar.providers import faults, masking
from sidecar.providers.dialect import ERROR_BYTES
from sidecar.proxy import belonging
from sidecar.proxy.attempt import Answer
from sidecar.proxy.call import connection_named
from sidecar.proxy.errors import SHOULD_RETRY, Refused
from sidecar.proxy.inflate import PLAIN, unpacked
from sidecar.proxy.passing import LAST_WORD_S, TAKEN_S, Delivery, Passing, say, taken
from sidecar.proxy.upstream import Reply
from sidecar.proxy.visit import Visit

# Of one hidden key, so they would mislead a client that shares many; and what only we may say.
_NOT_PASSED = ("x-ratelimit-", "x-rate-limit-", "ratelimit-", "anthropic-ratelimit-", "x-sidecar-")

AT_ONCE = 32 * 1024  # bytes of a body that the system takes, with its head, without waiting for who is to read it
LONGEST_TOLD = 1000  # bytes of an error that is no JSON

_DROPPED = HOP_BY_HOP | {"content-length"}


async def send(to: Delivery, answer: Answer, ours: CIMultiDict[str]) -> web.StreamResponse:
    """Sends the whole answer. A stream that breaks off ends with an error, anything else with the connection.

    `ours`: the headers that the sidecar adds.
    """
    request, reply = to.request, answer.reply
    if to.visit.begun is not None:
        return await _go_on(to, answer, to.visit.begun)
    headers = _client_headers(answer)
    if answer.is_final or (to.visit.attempts is not None and to.visit.attempts.doubted is answer):
        headers[SHOULD_RETRY] = "false"
    belonging.here(headers, request)
    headers.extend(ours)
    reader = reply.reader
    whole = reply.ended and reader is not None and reader.complete
    if not reply.streams or (whole and reader is not None and reader.failing):
        headers, body = _without_secret(answer, headers)
        if reply.asked_usage:
            body = to.call.place.judge.without_usage(body)
        return await _whole(to, reply, headers, _masked(to, reply, body))
    if whole and not reply.asked_usage:
        body = _masked(to, reply, _at_home(request, reply, headers))
        if to.tee is not None:
            to.tee(body)
        return await _whole(to, reply, headers, body)
    return await _stream(to, answer, headers)


def _masked(to: Delivery, reply: Reply, body: bytes) -> bytes:
    """A whole body as its client is to see it; untouched where it cannot be read: packed, though nobody asked."""
    headers = reply.response.headers
    readable = reply.status < 300 and headers.get("Content-Encoding", "").strip().lower() in PLAIN
    mask = masking.mask(to.called, headers.get("Content-Type", "")) if to.called and readable else None
    return mask.feed(body) if mask else body


def _at_home(request: web.BaseRequest, reply: Reply, headers: CIMultiDict[str]) -> bytes:
    """The body, in which a URL that leads past the sidecar leads here."""
    results = belonging.results(request)
    if results is None or reply.status >= 300:
        return reply.held
    body, is_all = unpacked(headers.get("Content-Encoding", ""), reply.held, ERROR_BYTES)
    here = results.feed(body)
    if not is_all or here == body:
        return reply.held
    headers.popall("Content-Encoding", None)
    return here


async def end(
    request: web.BaseRequest, visit: Visit, begun: web.StreamResponse, refused: Refused
) -> web.StreamResponse:
    """Ends a stream with an error of the sidecar."""
    error = visit.dialect.write_error(refused.status, refused.code, refused.message)
    return await _end(request, visit, begun, visit.dialect.write_error_event(visit.operation, refused.status, error))


async def _end(request: web.BaseRequest, visit: Visit, begun: web.StreamResponse, event: bytes) -> web.StreamResponse:
    await taken(request, visit, say(begun, [event]), LAST_WORD_S)
    return begun


async def _go_on(to: Delivery, answer: Answer, begun: web.StreamResponse) -> web.StreamResponse:
    """Says an answer in the stream that its client has already: as it is, if it is one, else the error in it.

    Raises Refused where it is neither.
    """
    reply, place = answer.reply, to.call.place
    passing = None if reply.reader is None else Passing(to, answer, reply.reader)
    if passing is not None and passing.unpacks and reply.streams:
        return await passing.send(begun)
    reply.incoming.close()
    if reply.status < 300 and not (passing and passing.unpacks):
        raise no_stream()
    said = _error(answer)
    if passing is not None:  # the error is an event of its own stream
        return await _end(to.request, to.visit, begun, said)
    error = faults.as_object(said)
    if error is None:
        raise Refused(reply.status, "upstream_error", said[:LONGEST_TOLD].decode("utf-8", "replace"))
    return await _end(to.request, to.visit, begun, place.judge.write_error_event(place.operation, reply.status, error))


def no_stream() -> Refused:
    """What the client of a stream is told that has begun, where the answer is none."""
    return Refused(502, "upstream_error", "The provider answered without the stream that it was asked for.")


async def _whole(to: Delivery, reply: Reply, headers: CIMultiDict[str], body: bytes) -> web.StreamResponse:
    length = reply.response.headers.get("Content-Length")
    if length and to.request.method == "HEAD":
        headers["Content-Length"] = length  # of what a GET would get
    return await send_whole(to.request, to.visit, web.Response(status=reply.status, headers=headers, body=body or None))


async def send_whole(request: web.BaseRequest, visit: Visit, response: web.Response) -> web.StreamResponse:
    """Sends an answer that is all there. Raises ConnectionResetError as `taken` does."""

    async def send() -> None:
        await response.prepare(request)
        await response.write_eof()

    transport, body = request.transport, response.body or b""
    is_small = isinstance(body, bytes) and len(body) <= AT_ONCE
    if is_small and transport is not None and not transport.get_write_buffer_size():
        visit.said = True
        await send()  # as mostly, without the cost of a deadline
    else:
        await taken(request, visit, send(), TAKEN_S)
    return response


async def _stream(to: Delivery, answer: Answer, headers: CIMultiDict[str]) -> web.StreamResponse:
    reply, reader = answer.reply, answer.reply.reader
    assert reader is not None
    passing = Passing(to, answer, reader)
    if passing.unpacks:
        headers.popall("Content-Encoding", None)
    response = web.StreamResponse(status=reply.status, headers=headers)
    length = reply.response.headers.get("Content-Length", "")
    if length.isdigit() and not passing.unpacks and passing.mask is None:
        response.content_length = int(length)
    await response.prepare(to.request)
    return await passing.send(response)


def _client_headers(answer: Answer) -> CIMultiDict[str]:
    """The provider's headers as far as they concern the client, with its name where a secret stood."""
    headers, secrets = answer.reply.response.headers, answer.secrets
    named = connection_named(headers)
    kept = [
        (name, value)
        for name, value in headers.items()
        if (lower := name.lower()) not in _DROPPED and lower not in named and not lower.startswith(_NOT_PASSED)
    ]
    together = "\n".join([text for header in kept for text in header])  # one look instead of two a header
    if hide(together, secrets) != together:
        kept = [(hide(name, secrets), hide(value, secrets)) for name, value in kept]
    return CIMultiDict(kept)


def _without_secret(answer: Answer, headers: CIMultiDict[str]) -> tuple[CIMultiDict[str], bytes]:
    """An error's headers and body with secrets replaced by their names; as they came, where none is there.

    Raises Refused as `_error` does.
    """
    reply = answer.reply
    clean = _error(answer)
    if clean == unpacked(reply.response.headers.get("Content-Encoding", ""), reply.held, ERROR_BYTES)[0]:
        return headers, reply.held
    headers.popall("Content-Encoding", None)
    return headers, clean


def _error(answer: Answer) -> bytes:
    """An error's body, unpacked, with its name where a secret stood.

    Raises Refused with the same status where the body is too large, or compressed so that it cannot be searched.
    """
    reply = answer.reply
    body, is_all = unpacked(reply.response.headers.get("Content-Encoding", ""), reply.held, ERROR_BYTES)
    if not is_all or not reply.ended or b"\0" in body:  # in UTF-16 or UTF-32 nothing would be found
        status = reply.status if reply.status >= 400 else 502
        message = "The provider's error is too large or cannot be decoded to be passed on."
        raise Refused(status, "upstream_error", message)
    return hide(body.decode("latin-1"), answer.secrets).encode("latin-1")
