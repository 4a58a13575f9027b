"""Both ends of what is too long to be kept tell what it was and what it cost."""

from __future__ import annotations

import pytest

from sidecar.providers import tails

USAGE = b'"usage":{"total_tokens":6,"details":{"x":[1]}}'


@pytest.mark.parametrize(
    ("tail", "told"),
    [
        (b'AAAA"}],' + USAGE + b',"user":null}}', USAGE),
        (b'"usage":{"total_tokens":5},' + USAGE, USAGE),
        (USAGE + b',"usage":{"total_', USAGE),
        (b'"usageMetadata" : {"totalTokenCount": 18446744073709551616}', b'"usageMetadata":{"totalTokenCount": 1844'),
        (b'"text":"\\"usage\\": {\\"total_tokens\\": 1}"', b""),
        (b'"usage":{' + b'"a":{' * 3000, b""),
        (b'\xff\xfe"usage":null', b""),
    ],
)
def test_the_last_whole_usage_is_the_answers(tail: bytes, told: bytes) -> None:
    assert tails.usage(tail).startswith(told)
    assert bool(tails.usage(tail)) == bool(told)


@pytest.mark.parametrize(
    ("head", "tail", "told"),
    [
        (b'event: a.completed\ndata: {"x":"AA', b'AA"}', b'event: a.completed\ndata: {"type":"a.completed"}'),
        (b'id: 1\nevent:a\ndata: {"x":"AA', b'AA",' + USAGE, b'event: a\ndata: {"type":"a",' + USAGE + b"}"),
        (b'data: { "type" : "a.done","x":"AA', b'AA"}', b'event: a.done\ndata: {"type":"a.done"}'),
        (b'data: {"event_type":"a","x":"AA', b'AA"}', b'event: a\ndata: {"type":"a"}'),
        (b'data: {"x":{"type":"a","y":"AA', b'AA"}', b""),
        (b'data: {"candidates":[', b'"finishReason": "STOP"}]}', b'data: {"candidates":[{"finishReason":"STOP"}]}'),
        (b'event: "a"\ndata: AA', b"AA", b""),
    ],
)
def test_an_event_is_known_by_its_name_or_by_what_its_object_begins_with(head: bytes, tail: bytes, told: bytes) -> None:
    assert tails.event(head, tail) == told
