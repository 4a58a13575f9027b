"""Compression is undone alike however the bytes are cut, in pieces of a bounded size."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest

from sidecar.proxy.inflate import PIECE, Inflate, unpacked

PLAIN = [b"", b"x", b'{"a": 1}' * 50, bytes(3 * PIECE + 7), b"ab" * PIECE, random.Random(1).randbytes(PIECE + 1)]


def raw(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def members(data: bytes) -> bytes:
    middle = len(data) // 2
    return gzip.compress(data[:middle]) + gzip.compress(data[middle:])


@pytest.mark.parametrize("plain", PLAIN, ids=len)
@pytest.mark.parametrize(
    ("coding", "pack"),
    [("", bytes), ("gzip", gzip.compress), ("gzip", members), ("deflate", zlib.compress), ("deflate", raw)],
    ids=["identity", "gzip", "gzip of two members", "deflate", "deflate without its frame"],
)
@pytest.mark.parametrize("step", [1, 1000, 1 << 30])
def test_what_was_packed_comes_back(coding: str, pack: object, plain: bytes, step: int) -> None:
    assert callable(pack)
    packed = pack(plain)
    inflate = Inflate(coding)
    pieces = [piece for start in range(0, len(packed), step) for piece in inflate(packed[start : start + step])]
    assert b"".join(pieces) == plain
    assert inflate.whole
    assert not coding or max(map(len, pieces), default=0) <= PIECE
    assert unpacked(coding, packed, len(plain)) == (plain, True)
    assert unpacked(coding, packed, len(plain) - 1) == (plain[:-1], False) or not plain


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_what_is_cut_or_broken_is_not_whole(coding: str) -> None:
    packed = gzip.compress(b"hello" * 99) if coding == "gzip" else zlib.compress(b"hello" * 99)
    assert not unpacked(coding, packed[:-1], 10_000)[1]
    assert not unpacked(coding, packed[:12] + b"\xff" + packed[13:], 10_000)[1]
    assert not unpacked(coding, b"no such thing", 10_000)[1]
    assert not unpacked("br", packed, 10_000)[1]
