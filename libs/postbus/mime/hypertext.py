"""HTML to text: tags dropped, block tags as white space, references resolved; linear, no parser state to exhaust."""

import html
from typing import Final

_INLINE_NAMES: Final = (
    "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd mark q s samp small span strike strong sub "
    "sup time tt u var wbr o:p"
)
_INLINE: Final = frozenset(_INLINE_NAMES.split())
_SKIPPED: Final = frozenset({"script", "style", "title", "template", "noscript"})
_MAX_TAG_NAME: Final = 16


def strip_html(markup: str, limit: int) -> str:
    """The text of `markup`, at most about `limit` characters, white space as it comes."""
    if "<" not in markup:
        return html.unescape(markup[:limit])
    found: list[str] = []
    size = at = 0
    lower = ""
    while size < limit:
        start = markup.find("<", at)
        if start < 0:
            found.append(markup[at : at + limit])
            break
        if start > at:
            found.append(markup[at:start])
            size += start - at
        if markup.startswith("<!--", start):
            end = markup.find("-->", start + 4)
            after = end + 3
        else:
            name = _tag_name(markup, start + 1)
            if not name:
                found.append("<")
                at = start + 1
                continue
            if name in _SKIPPED:
                lower = lower or _lower_ascii(markup)
                start = lower.find("</" + name, start)
                if start < 0:
                    break
            elif name.lstrip("/") not in _INLINE:
                found.append(" ")
            end = markup.find(">", start)
            after = end + 1
        if end < 0:
            break
        at = after
    return html.unescape("".join(found)[: 2 * limit])[:limit]


def _tag_name(markup: str, at: int) -> str:
    """Lower-case name of the tag whose `<` stands before `at`, with its slash; empty when it is none."""
    piece = markup[at : at + _MAX_TAG_NAME]
    first = piece[:1]
    if not (first.isalpha() or first in "/!?") or not first:
        return ""
    for index, character in enumerate(piece):
        if character in " \t\r\n>" or (character == "/" and index):
            return piece[:index].lower()
    return piece.lower()


def _lower_ascii(text: str) -> str:
    """Lower case without a change of length (str.lower can lengthen)."""
    return text.translate(_LOWER)


_LOWER: Final = {upper: upper + 32 for upper in range(65, 91)}
