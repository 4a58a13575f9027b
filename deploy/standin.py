"""Stands in for an application: it asks its sidecar for a chat completion every second, and knows no key."""

import http.client
import json
import sys
import time

QUESTION = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Are you there?"}]}


def ask() -> str:
    """One call and what came of it: the status, and which key and replica-wide turn it was served with."""
    sidecar = http.client.HTTPConnection("localhost", 4000, timeout=60)
    try:
        sidecar.request("POST", "/v1/chat/completions", json.dumps(QUESTION), {"Content-Type": "application/json"})
        answer = sidecar.getresponse()
        told = {name: answer.getheader(f"x-sidecar-{name}") for name in ("key", "grant", "attempts", "waited-ms")}
        return f"{answer.status} {json.dumps(told)}"
    except OSError as error:
        return f"no sidecar yet: {error}"
    finally:
        sidecar.close()


while True:
    sys.stdout.write(ask() + "\n")
    sys.stdout.flush()
    time.sleep(1)
