"""Whose fault a refused credential is: the key's, once another key of the pool answers otherwise, else the request's.

A client's `OpenAI-Organization` gives 401 on every key. So the first refusal is a suspicion: it rests its key for
SUSPICION_US at once, and is taken back when the next key says the same. From then on nothing rests, until a key
answers anything else: then all that refused are proved. One bad request rests one key for one round trip.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sidecar.model.classes import Class, Scope
from sidecar.model.words import Report, Rest, Subject

SUSPICION_US = 30_000_000
ENOUGH_KEYS = 20  # that say `invalid_key` of one request prove it the request's, however many there are
ENOUGH_ACCOUNTS = 3  # that say `permission` of one request do

REFUSALS = frozenset({Class.INVALID_KEY, Class.PERMISSION})
# What a provider says only after it has accepted the credential.
PROOFS = frozenset(
    {
        Class.OK,
        Class.BLOCKED,
        Class.BAD_REQUEST,
        Class.CONTEXT_TOO_LONG,
        Class.BILLING,
        Class.RATE_LIMIT_MINUTE,
        Class.RATE_LIMIT_DAY,
        Class.RATE_LIMIT_TOKENS,
    }
)


def is_refusal(kind: Class, scope: Scope) -> bool:
    """Whether this outcome says that the key is no good: for all models, or for this one."""
    return kind in REFUSALS and scope in {Scope.KEY, Scope.KEY_MODEL}


@dataclass(slots=True)
class Blame:
    """What the keys of one pool have said of one request."""

    request: str
    refusals: list[tuple[Class, Subject]] = field(default_factory=list)
    suspicion: Subject | None = None  # what rests on it now

    def refused(self, kind: Class, subject: Subject, others: bool) -> Report:
        """A key refused. `others`: whether another key of the pool could prove it."""
        self.refusals.append((kind, subject))
        if len(self.refusals) > 1 or not others:
            return self.taken_back()
        self.suspicion = subject
        return Report(self.request, rests=(Rest(subject, SUSPICION_US, kind, proved=False),))

    def taken_back(self) -> Report:
        """The suspicion, if one rests, is not held any longer."""
        suspicion, self.suspicion = self.suspicion, None
        return Report(self.request, clears=(suspicion,) if suspicion else ())

    def proved(self, rest_us: int, probed: bool) -> Report:
        """A key accepted the request: all that refused it rest for so long; as dead where a cheap call can tell
        (`probed`) when they are accepted again."""
        rests = tuple(
            Rest(subject, rest_us, kind, dead=probed and kind is Class.INVALID_KEY and subject.model is None)
            for kind, subject in self.refusals
        )
        self.refusals, self.suspicion = [], None
        return Report(self.request, rests=rests)

    @property
    def is_the_requests(self) -> bool:
        """Whether so many agree with the latest refusal that asking further keys for its model would teach nothing."""
        if not self.refusals:
            return False
        latest, of = self.refusals[-1]
        agreeing = {s for kind, s in self.refusals if kind is latest and s.model in {None, of.model}}
        if latest is Class.PERMISSION:
            return len({subject.account for subject in agreeing}) >= ENOUGH_ACCOUNTS
        return len({subject.key for subject in agreeing}) >= ENOUGH_KEYS
