"""A secret found in a text however the text writes it: as it is, or escaped as JSON, a URL or HTML would."""

from __future__ import annotations

import re
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
        """The text with `name` wherever it wrote the secret."""
        return self.pattern.sub(lambda _: name, text) if self.anchor in text else text


@lru_cache(maxsize=1024)
def finder(secret: Secret) -> Finder:
    """Kept, for every answer asks for its key's. The texts are str, or bytes decoded as latin-1."""
    text = secret.reveal()
    return Finder(anchor(text), re.compile(pattern(text)))


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
