"""A secret found in a text however the text writes it: as it is, or escaped as JSON, a URL or HTML would."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from html.entities import codepoint2name

from sidecar.model.configured import Secret


@dataclass(frozen=True, slots=True)
class Finder:
    """Looks for one secret."""

    anchor: str  # letters and digits of it that no escaping changes: most texts do not hold them
    pattern: re.Pattern[str]

    def replace(self, text: str, name: str) -> str:
        """The text with `name` wherever it wrote the secret; then its escaped letters and digits are as they are."""
        for way in ways(text):
            if self.anchor in way and (clean := self.pattern.sub(lambda _: name, way)) != way:
                return clean
        return text


def hide(text: str, secrets: Iterable[tuple[Secret, str]]) -> str:
    """The text with its name wherever it wrote a secret."""
    for secret, name in secrets:
        text = finder(secret).replace(text, name)
    return text


@lru_cache(maxsize=1024)
def finder(secret: Secret) -> Finder:
    """Kept, for every answer asks for its key's. The texts are str, or bytes decoded as latin-1."""
    text = secret.reveal()
    return Finder(anchor(text), re.compile(pattern(text)))


_ESCAPED = re.compile(
    r"\\+u00([3-7][0-9a-fA-F])|%(?:25)*([3-7][0-9a-fA-F])|&(?:amp;)*#[xX]0*([3-7][0-9a-fA-F]);|&(?:amp;)*#0*(\d{2,3});"
)


def ways(text: str) -> tuple[str, ...]:
    """The texts to look for secrets in: with letters and digits as they are where some are escaped, and as it is.

    No library escapes those, so most texts cost three looks for a sign.
    """
    if "\\u00" not in text and "%" not in text and "#" not in text:
        return (text,)
    plain = _ESCAPED.sub(_unescaped, text)
    return (text,) if plain == text else (plain, text)


def _unescaped(match: re.Match[str]) -> str:
    code = match[match.lastindex or 0]
    sign = chr(int(code, 10 if match.lastindex == 4 else 16))
    return sign if sign.isascii() and sign.isalnum() else match[0]


def anchor(text: str) -> str:
    """The longest part that every way to write this text has in it, however it is escaped."""
    return max(re.split(r"[^A-Za-z0-9]", text), key=len)


def pattern(text: str) -> str:
    """A regular expression, without capturing groups, for every way to write this text."""
    return "".join(map(_sign, text))


def _sign(sign: str) -> str:
    """One character: escaped or, last because it may begin its own escape, as it is.

    Escapes may stand in an escaped text again, as `%252B` and `&amp;#43;` do.
    """
    if sign.isascii() and sign.isalnum():
        return sign
    code, name = ord(sign), codepoint2name.get(ord(sign))
    forms = [
        "".join(rf"\\+u(?i:{unit:04x})" for unit in _utf16(sign)),
        "".join(rf"%(?:25)*(?i:{byte:02x})" for byte in sign.encode()),
        rf"&(?:amp;)*#0*{code};",
        rf"&(?:amp;)*#[xX]0*(?i:{code:x});",
    ]
    if name:
        forms.append(rf"&(?:amp;)*{name};")
    forms += [rf"\\*{re.escape(sign)}", re.escape(sign.encode().decode("latin-1"))]
    return f"(?:{'|'.join(dict.fromkeys(forms))})"


def _utf16(sign: str) -> list[int]:
    data = sign.encode("utf-16-be")
    return [int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2)]
