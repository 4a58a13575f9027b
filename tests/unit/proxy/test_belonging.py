"""What a refusal says of the account that alone could have served."""

from __future__ import annotations

from typing import Any, cast

import pytest

from sidecar.proxy.belonging import Belongs
from sidecar.proxy.errors import Refused, bad_request, busy, out_of_budget, over_limit

NOTHING = cast(Any, None)
WHY = "file-1 was made with chat/k0, and no other account can use it."


def belongs(why: str = WHY) -> Belongs:
    return Belongs(NOTHING, NOTHING, NOTHING, "web", {}, why=why)


@pytest.mark.parametrize(
    "refused", [out_of_budget(5_000_000), busy(), Refused(503, "no_usable_key", "Every key rests.")]
)
def test_what_lacks_a_key_says_why_no_other_was_asked(refused: Refused) -> None:
    told = belongs().told(refused)
    assert told.message == f"{WHY} {refused.message}"
    assert (told.status, told.code, told.headers) == (refused.status, refused.code, refused.headers)


@pytest.mark.parametrize(
    "refused", [over_limit("web", 5_000_000), bad_request("No."), Refused(504, "timeout", "Late.")]
)
def test_what_lacks_no_key_is_not_blamed_on_the_account(refused: Refused) -> None:
    """A client's own limit would have refused it whatever it named."""
    assert belongs().told(refused) is refused


def test_without_a_reason_nothing_is_added() -> None:
    refused = out_of_budget(1)
    assert belongs("").told(refused) is refused
