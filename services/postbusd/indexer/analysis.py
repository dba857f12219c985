"""Text to words, the same way for documents, for criteria and for the tail.

Folding happens here: compatibility forms, case and accents of every script, soft hyphens; scripts that write without
spaces become one word a character, so that any piece of a sentence is found. Cutting into words (at everything that is
neither letter nor digit) and folding of special Latin letters (ß, ø, ł) is the analyzer's, given as a `WordCutter`.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import Final

from postbus.contracts.indexer import TextField, TextTerm
from postbusd.indexer.values import HEADER_MARK, MAX_TERM_WORDS, IndexDocument, Phrase, format_name

WordCutter = Callable[[str], list[str]]
"""Folded text to words."""

_DROPPED: Final = re.compile("[\u00ad\u0300-\u036f\u200b-\u200f\u2060\ud800-\udfff\ufeff\ufe00-\ufe0f]+")
"""Lone surrogates too: the index takes no text with one, and a batch would fail with it."""
_UNSPACED: Final = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])"
)
_SIGNATURES: Final = frozenset(
    {"dkim-signature", "arc-seal", "arc-message-signature", "x-google-dkim-signature", "domainkey-signature"}
)
_SIGNATURE_DATA: Final = re.compile(r"\b(?:b|bh)\s*=\s*[^;]*")
_HEADER_FIELDS: Final = {
    TextField.FROM: "from",
    TextField.TO: "to",
    TextField.CC: "cc",
    TextField.BCC: "bcc",
    TextField.SUBJECT: "subject",
}


def fold_text(text: str) -> str:
    """Text without differences that a reader would not type."""
    if text.isascii():
        return text
    folded = unicodedata.normalize("NFKD", text).casefold()
    return unicodedata.normalize("NFC", _UNSPACED.sub(r" \1 ", _DROPPED.sub("", folded)))


def indexable_value(name: str, value: str) -> str:
    """A header value folded; the base64 of signatures is left out, because nobody looks for it."""
    return fold_text(_SIGNATURE_DATA.sub(" ", value) if name in _SIGNATURES else value)


def header_words(document: IndexDocument, cut: WordCutter) -> list[str]:
    """Tokens of the header field: the mark of each field, then `name:word` of each word."""
    found: list[str] = []
    for name, value in document.header:
        found.append(HEADER_MARK + name)
        found += [f"{name}:{word}" for word in cut(value)]
    return found


def read_term(term: TextTerm, cut: WordCutter) -> Phrase:
    """A criterion as the index understands it."""
    words = tuple(cut(fold_text(term.value)))[:MAX_TERM_WORDS]
    impossible = not words and bool(term.value.strip())
    if term.field is TextField.HEADER or term.field in _HEADER_FIELDS:
        name = format_name(_HEADER_FIELDS.get(term.field, term.header_name.strip()))
        if not words and term.field is not TextField.HEADER:
            name = ""
        tagged = tuple(f"{name}:{word}" for word in words)
        return Phrase(header_name=name, words=tagged, impossible=impossible)
    in_head = term.field is TextField.TEXT
    return Phrase(in_body=True, in_head=in_head, words=words, impossible=impossible)


def contains_phrase(tokens: list[str], words: tuple[str, ...]) -> bool:
    """Whether the words stand next to each other in this order, the last one as a prefix."""
    first, last, before = words[0], words[-1], len(words) - 1
    if before == 0:
        return any(token.startswith(last) for token in tokens)
    at = -1
    while True:
        try:
            at = tokens.index(first, at + 1)
        except ValueError:
            return False
        if tuple(tokens[at : at + before]) == words[:-1]:
            after = tokens[at + before : at + before + 1]
            if after and after[0].startswith(last):
                return True
