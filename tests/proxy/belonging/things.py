"""Things that an account makes, and calls that name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.proxy.plane import Plane

FILE = (
    b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--x\r\nContent-Disposition: form-data; '
)
FILE += b'name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x--\r\n'
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


async def upload(plane: Plane, path: str = "/v1/files") -> tuple[str, str]:
    """The id of a new file, and the key that made it."""
    made = await plane.send("POST", path, FORM, FILE)
    assert made.status == 200, made.body
    return made.data["id"], made.key


def asking(thing: str) -> Mapping[str, Any]:
    """A chat with a file in it, deep inside."""
    return {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": thing}}]}]}
