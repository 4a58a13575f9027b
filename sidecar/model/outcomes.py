"""The outcomes that hang on how an attempt went alone: whoever judges it, a dialect or the wire, means the same."""

from __future__ import annotations

from sidecar.model.classes import Class, Scope
from sidecar.model.words import Outcome

OK = Outcome(Class.OK, Scope.REQUEST, other=False)
BLOCKED = Outcome(Class.BLOCKED, Scope.REQUEST, other=False)
BROKEN = Outcome(Class.SERVER_ERROR, Scope.PROVIDER, other=True)  # there was the beginning of an answer, or none
HOLLOW = Outcome(Class.SERVER_ERROR, Scope.PROVIDER, other=True, works=True)  # nothing in it
TIMED_OUT = Outcome(Class.TIMEOUT, Scope.PROVIDER, other=True)
UNREACHED = Outcome(Class.CONNECT, Scope.PROVIDER, other=True)  # nothing was sent
