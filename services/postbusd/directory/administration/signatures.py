"""The signature of a domain, as text and as a fragment of HTML."""

import re
from typing import Final

from postbus.contracts.domains import Signature
from postbusd.directory.administration.refusals import invalid

MAX_TEXT_CHARACTERS: Final = 10_000
MAX_HTML_CHARACTERS: Final = 50_000

_NO_FRAGMENT = re.compile(r"<\s*/?\s*(html|head|body|script|!doctype)\b", re.IGNORECASE)


def check_signature(signature: Signature | None) -> Signature | None:
    """In its one form: lines end in LF, nothing blank around; None: none. Raises MailError: INVALID."""
    if signature is None:
        return None
    text = _clean("signature.text", signature.text, MAX_TEXT_CHARACTERS)
    html = _clean("signature.html", signature.html, MAX_HTML_CHARACTERS)
    found = _NO_FRAGMENT.search(html)
    if found is not None:
        raise invalid("signature.html", f"is put into the body of messages: without {found[1].lower()}")
    if html and not text:
        raise invalid("signature.text", "is needed for messages without HTML")
    return Signature(text=text, html=html) if text else None


def _clean(field: str, value: str, most: int) -> str:
    lines = value.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    if len(lines) > most:
        raise invalid(field, f"at most {most} characters")
    for character in lines:
        if not (character.isprintable() or character in "\n\t"):
            raise invalid(field, f"{character!r} is no character of a text")
    return lines if lines.strip() else ""
