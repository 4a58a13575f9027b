"""The model is a field among others in forms, as audio and image calls send them."""

from __future__ import annotations

import pytest

from sidecar.providers import multipart
from sidecar.providers.jsonhead import Head

FORM = (
    b'--B0\r\nContent-Disposition: form-data; name="file"; filename="model"\r\nContent-Type: audio/mpeg\r\n\r\n'
    b'\x00\xffname="model"\r\n\r\nnoise\r\n--B0x\r\n'
    b'\r\n--B0\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    b"--B0\r\ncontent-disposition: form-data; name=stream\r\n\r\ntrue\r\n--B0--\r\n"
)


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=B0", 'Multipart/Form-Data; charset=x; boundary="B0"'])
def test_model_of_a_form(kind: str) -> None:
    """Found by its name, replaced in its place; the file stays as it is."""
    assert multipart.is_form(kind)
    assert multipart.read(kind, FORM) == Head("whisper-1", True)
    written = b"".join(multipart.replace(kind, FORM, "gpt-4o-transcribe"))
    assert written == FORM.replace(b"whisper-1", b"gpt-4o-transcribe")
    assert b"".join(multipart.replace(kind, memoryview(FORM), "x")) == FORM.replace(b"whisper-1", b"x")


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=other"])
def test_form_that_cannot_be_read_has_no_model(kind: str) -> None:
    """It passes as it is; the provider says what is wrong."""
    assert multipart.read(kind, FORM) == Head(None, False)
    assert b"".join(multipart.replace(kind, FORM, "x")) == FORM


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_parts_begin_where_a_line_does(end: bytes) -> None:
    """Also the first, without a line before it; what only looks like a boundary belongs to the value."""
    lines = [
        b"--B0",
        b'Content-Disposition: form-data; name="video[id]"',
        b"",
        b"one--B0",
        b" --B0",
        b"--B0x",
        b"",
        b"--B0 ",
        b"Content-Disposition: form-data; name=log; filename*=UTF-8''a.txt",
        b"",
        b"",
        b"--B0--",
    ]
    form = end.join(lines)
    for body in (form, memoryview(form)):
        found = [(*part[:2], bytes(body[part.start : part.stop])) for part in multipart.parts("x; boundary=B0", body)]
        assert found == [(b"video[id]", False, end.join([*lines[3:6], b""])), (b"log", True, b"")]
