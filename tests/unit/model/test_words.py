"""A secret shows itself to nobody, and limits, members and grants say of themselves what the scripts rely on."""

from __future__ import annotations

import copy
import logging
import pickle
import traceback

import pytest

from sidecar.model.configured import Address, Key, Limit, Secret
from sidecar.model.words import Grant, Member, Rotation

TEXT = "sk-live-0123456789"
SECRET = Secret(TEXT)


@pytest.mark.parametrize(
    "shown",
    [
        repr(SECRET),
        str(SECRET),
        f"{SECRET}",
        f"{SECRET!s} {SECRET!r}",
        "{}".format(SECRET),  # noqa: UP032 - another way to show something
        "%s %r" % (SECRET, SECRET),  # noqa: UP031 - likewise
        repr([SECRET]),
        repr(Key("a", SECRET, "fp", "acc")),
        ascii(SECRET),
    ],
)
def test_secret_is_never_shown(shown: str) -> None:
    assert TEXT not in shown
    assert "Secret(...)" in shown


def test_secret_is_not_in_a_traceback() -> None:
    """Neither in its message nor in the values of its frames."""
    held = Secret(TEXT)
    try:
        int(held)  # type: ignore[call-overload]
    except TypeError as error:
        told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "held = Secret(...)" in told
    assert TEXT not in told


def test_secret_is_not_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("test").warning("%s %r", SECRET, {"key": SECRET})
    assert TEXT not in caplog.text
    assert "Secret(...)" in caplog.text


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_secret_is_not_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="stays in this process"):
        pickle.dumps(SECRET, protocol)


def test_secret_has_no_dict_and_no_format() -> None:
    assert not hasattr(SECRET, "__dict__")
    with pytest.raises(TypeError):
        format(SECRET, ">40")


def test_secret_is_not_copied() -> None:
    with pytest.raises(TypeError):
        copy.deepcopy(SECRET)


def test_secrets_compare_by_their_text() -> None:
    """Also texts that are no ASCII, which `hmac.compare_digest` refuses as str."""
    assert Secret(TEXT) == SECRET
    assert Secret(TEXT + "x") != SECRET
    assert Secret("schlüssel") == Secret("schlüssel")
    assert Secret("schlüssel") != Secret("schlussel")
    assert TEXT != SECRET
    assert len({SECRET, Secret(TEXT), Secret("other")}) == 2
    assert SECRET.reveal() == TEXT


def test_limit_is_named_without_its_maximum() -> None:
    """A changed maximum counts on in the same window."""
    one, two = (Limit("requests", maximum, 60_000_000, 1, "gpt-*") for maximum in (1, 2))
    assert one.name == two.name == "requests/60000000/gpt-*"


def test_member_begins_with_its_order() -> None:
    """In five digits, so that Redis breaks ties as the config does."""
    texts = [Member(order, 1, 2, "k", "f", "a", 0).text for order in (10, 9, 100)]
    assert sorted(texts) == [texts[1], texts[0], texts[2]]
    assert texts[1] == "00009|1|2|k|f|a|0"


def test_grant_has_the_least_guard_of_its_windows() -> None:
    """None where no window counts it: it may be sent at any time."""
    sets = ((Limit("requests", 1, 60, 7), Limit("requests", 1, 90, 5)), ())
    members = tuple(Member(i, 1, 0, f"k{i}", "f", "a", i) for i in range(2))
    turns = Rotation("p", "m", "d", members, sets)
    assert [Grant(0, turns, member, 0, 0, 0).guard_us for member in members] == [5, None]


@pytest.mark.parametrize(("host", "text"), [("127.0.0.1", "127.0.0.1:4000"), ("::1", "[::1]:4000")])
def test_address_is_written_as_urls_write_it(host: str, text: str) -> None:
    assert str(Address(host, 4000)) == text
