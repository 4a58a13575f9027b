"""A reply on its way to the client: its bytes as they come, its usage read along, its end told truly."""

from __future__ import annotations

from aiohttp import web
from multidict import CIMultiDict

from sidecar.providers.dialect import ERROR_BYTES
from sidecar.proxy.attempt import Answer
from sidecar.proxy.call import HOP_BY_HOP, connection_named
from sidecar.proxy.errors import Refused
from sidecar.proxy.upstream import Lost, chunk

# Of one hidden key, so they would mislead a client that shares many.
_ONE_KEYS_OWN = ("x-ratelimit-", "x-rate-limit-", "ratelimit-", "anthropic-ratelimit-")


async def send(request: web.BaseRequest, answer: Answer, ours: CIMultiDict[str]) -> web.StreamResponse:
    """Sends the whole answer. A provider that breaks off breaks the client's connection off too."""
    reply = answer.reply
    headers = _client_headers(answer)
    headers.update(ours)
    if not reply.streams:
        headers, body = _without_secret(answer, headers)
        return await _whole(request, reply.status, headers, body)
    if reply.ended and reply.reader is not None and reply.reader.complete:
        return await _whole(request, reply.status, headers, reply.held)
    return await _stream(request, answer, headers)


async def _whole(request: web.BaseRequest, status: int, headers: CIMultiDict[str], body: bytes) -> web.StreamResponse:
    response = web.Response(status=status, headers=headers, body=body or None)
    await response.prepare(request)
    await response.write_eof()
    return response


async def _stream(request: web.BaseRequest, answer: Answer, headers: CIMultiDict[str]) -> web.StreamResponse:
    reply = answer.reply
    reader, inflate = reply.reader, reply.inflate
    assert reader is not None
    response = web.StreamResponse(status=reply.status, headers=headers)
    if (length := reply.response.headers.get("Content-Length")) and length.isdigit():
        response.content_length = int(length)
    await response.prepare(request)
    try:
        if reply.held:
            await response.write(reply.held)
        while not reply.ended and (data := await chunk(reply.response)):
            await response.write(data)
            plain = inflate(data)
            if plain:
                reader.feed(plain)
        if not reply.ended:
            reader.close()
        if reader.complete:
            await response.write_eof()
            return response
    except Lost:
        pass
    finally:
        reply.response.close()
    # An answer that was cut must not look like one that ended: the client sees its connection break.
    if request.transport is not None:
        request.transport.abort()
    return response


def _client_headers(answer: Answer) -> CIMultiDict[str]:
    headers = answer.reply.response.headers
    dropped = HOP_BY_HOP | connection_named(headers) | {"content-length"}
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if (lower := name.lower()) not in dropped and not lower.startswith(_ONE_KEYS_OWN)
    )


def _without_secret(answer: Answer, headers: CIMultiDict[str]) -> tuple[CIMultiDict[str], bytes]:
    """An error's headers and body with the key's secret replaced by its id.

    Raises Refused with the same status where the body is too large, or compressed so that it cannot be searched.
    """
    reply, key = answer.reply, answer.held.key
    secret = key.secret.reveal()
    for name, value in list(headers.items()):
        if secret in value:
            headers[name] = value.replace(secret, key.id)
    coding = reply.response.headers.get("Content-Encoding", "")
    body: bytes | None = reply.held
    if coding:
        body = type(reply.inflate)(coding.strip().lower())(reply.held)
    if body is None or len(reply.held) > ERROR_BYTES or not reply.ended:
        raise Refused(
            reply.status, "upstream_error", "The provider's error is too large or cannot be decoded to be passed on."
        )
    if secret.encode() in body:
        headers.pop("Content-Encoding", None)
        return headers, body.replace(secret.encode(), key.id.encode())
    return headers, reply.held
