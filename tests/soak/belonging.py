"""What one account made and others cannot use: made through one replica, asked for through another."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.soak.faults import Excused
from tests.soak.traffic import JSON, Clients, Sent
from tests.soak.world import now

POOL = "making"
USES = (1, 4)
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
FILE = (
    b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--x\r\nContent-Disposition: form-data; '
    b'name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x--\r\n'
)


async def play(clients: Clients, draw: random.Random) -> None:
    """A file or a response is made, and used some times: named in the path, and deep in a body."""
    is_file = draw.random() < 0.7
    made = Sent("made", draw.choice(clients.targets), now(), asked=POOL)
    if is_file:
        await clients.send(made, FILE, FORM, f"/pools/{POOL}/v1/files")
    else:
        await clients.send(made, _responds(""), path=f"/pools/{POOL}/v1/responses")
    if made.end != 200:
        return
    thing = json.loads(made.body)["id"]
    for _ in range(draw.randint(*USES)):
        used = Sent("uses", draw.choice(clients.targets), now(), asked=POOL, made=made)
        if not is_file:
            await clients.send(used, _responds(thing), path=f"/pools/{POOL}/v1/responses")
        elif draw.random() < 0.5:
            await clients.send(used, b"", JSON, f"/pools/{POOL}/v1/files/{thing}", method="GET")
        else:
            await clients.send(used, _names(thing))


def _responds(before: str) -> Mapping[str, Any]:
    asked = {"model": "gpt-4o", "input": "Hi", "max_output_tokens": 8, "store": True}
    return asked | ({"previous_response_id": before} if before else {})


def _names(file: str) -> Mapping[str, Any]:
    content = [{"type": "file", "file": {"file_id": file}}, {"type": "text", "text": "Sum it up"}]
    return {"model": f"{POOL}/gpt-4o", "messages": [{"role": "user", "content": content}], "max_tokens": 8}


def forgotten(one: Sent, excused: Excused) -> bool:
    """Whether nobody need know who made what this names: Redis was away as it was to be told."""
    return one.made is not None and any(of.replica is None for of in excused(one.made))


def strayed(sent: Iterable[Sent], arrivals: Iterable[Mapping[str, Any]], excused: Excused) -> Iterator[str]:
    """Calls at an account that did not make what they name, as the provider met them."""
    tags = {one.tag: one for one in sent if one.made is not None}
    makers = {arrival["tag"]: arrival["account"] for arrival in arrivals if arrival["status"] == 200}
    for arrival in arrivals:
        one = tags.get(arrival["tag"])
        if one is None or one.made is None or forgotten(one, excused):
            continue
        if arrival["account"] != makers[one.made.tag]:
            yield f"{arrival['path']} came to {arrival['account']} at {one.began:.1f}, {makers[one.made.tag]} made it"
