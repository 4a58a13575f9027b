"""What a provider does with things that last: each is its account's alone, and for everybody else it is not there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

import orjson

from sidecar.simulate import anthropic_kept, google_kept, media, openai_kept
from sidecar.simulate.answers import Answer
from sidecar.simulate.calls import Call, Data
from sidecar.simulate.shelves import Absent, Shelves


@dataclass(slots=True)
class Kept:
    """The things of one provider."""

    shelves: Shelves = field(default_factory=Shelves)

    def answer(self, call: Call, account: str) -> Answer | None:
        """None where the call has nothing to do with things. Raises CallError where something needed is missing."""
        try:
            self.shelves.check(account, call.data)
            if call.dialect == "openai":
                return media.answer(call) or openai_kept.answer(call, account, self.shelves)
            if call.dialect == "anthropic":
                return anthropic_kept.answer(call, account, self.shelves)
            return google_kept.answer(call, account, self.shelves) if call.dialect == "gemini" else None
        except Absent as absent:
            return _absent(call, absent.thing)

    def keep(self, call: Call, account: str, healthy: Answer) -> Answer:
        """A new response of OpenAI's, kept, under ids as long as real ones; sealed in a whole answer if so asked."""
        if (call.dialect, call.operation) != ("openai", "responses") or healthy.status != 200:
            return healthy
        chunks = tuple(_ID.sub(rb'"\1_%024d"' % call.number, chunk) for chunk in healthy.chunks)
        if call.stream:
            last = chunks[-1].partition(b"data: ")[2]
            openai_kept.keep_response(call, account, self.shelves, orjson.loads(last)["response"])
            return replace(healthy, chunks=chunks)
        response: Data = orjson.loads(b"".join(chunks))
        openai_kept.seal(call, account, self.shelves, response)
        openai_kept.keep_response(call, account, self.shelves, response)
        return replace(healthy, chunks=(orjson.dumps(response),))


_ID = re.compile(rb'"(resp|msg|fc)_\d+"')


def _absent(call: Call, thing: str) -> Answer:
    if call.dialect == "anthropic":
        return anthropic_kept.absent(thing)
    return google_kept.absent(thing) if call.dialect == "gemini" else openai_kept.absent(call, thing)
