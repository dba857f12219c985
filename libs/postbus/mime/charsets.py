"""Octets to text, whatever the label says: unknown and wrong charsets are repaired, nothing raises."""

import codecs
import functools
import re
from typing import Final

_ALIASES: Final = {
    "": "utf-8",
    "us-ascii": "utf-8",
    "ascii": "utf-8",
    "unknown-8bit": "utf-8",
    "8bit": "utf-8",
    "default": "utf-8",
    "x-unknown": "utf-8",
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "latin-1": "cp1252",
    "iso8859-1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
    "shift_jis": "cp932",
    "x-sjis": "cp932",
    "iso-8859-8-i": "iso-8859-8",
    "iso-8859-6-i": "iso-8859-6",
    "x-mac-roman": "mac-roman",
    "macintosh": "mac-roman",
    "tis-620": "cp874",
    "windows-874": "cp874",
    "unicode-1-1-utf-7": "utf-7",
    "cp-850": "cp850",
}
"""Labels that mean another codec in practice (supersets, and old names)."""
_REFUSED: Final = frozenset(
    {"idna", "punycode", "unicode_escape", "raw-unicode-escape", "unicode-escape", "undefined", "palmos", "mbcs", "oem"}
)
"""Codecs of Python that are no charset of mail; some take quadratic time."""
_WITHOUT_CONTROLS: Final = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 127))
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
"""UTF-7 alone can spell a lone one; what it gets into can't be written as UTF-8 by anybody."""
_MAX_LABEL: Final = 64


@functools.lru_cache(maxsize=256)
def codec_name(charset: str) -> str | None:
    """The codec for a charset label; None when there is none."""
    label = charset.strip().strip("\"'").lower()[:_MAX_LABEL].partition("*")[0]
    label = _ALIASES.get(label, label)
    try:
        info = codecs.lookup(label)
    except (LookupError, ValueError):
        return None
    if info.name in _REFUSED or not getattr(info, "_is_text_encoding", True):
        return None
    return info.name


def decode_bytes(data: bytes, charset: str) -> str:
    """Text of `data`; without a usable label UTF-8 if it is, else Windows-1252."""
    name = codec_name(charset)
    if name is not None and name != "utf-8":
        try:
            text = data.decode(name, "replace")
            return _SURROGATE.sub("\ufffd", text) if name == "utf-7" else text
        except (UnicodeError, ValueError):
            name = None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if charset.lower().startswith("utf"):
            return data.decode("utf-8", "replace")
        start = error.start
        if start >= len(data) - 3 and not data[:start].isascii():  # UTF-8, cut off within a character
            return data[:start].decode("utf-8")
        return data.decode("cp1252", "replace")


def decode_raw(data: bytes) -> str:
    """Header octets as text (RFC 6532: UTF-8), control characters removed."""
    if data.isascii():
        text = data.decode("ascii")
        return text if text.isprintable() else text.translate(_WITHOUT_CONTROLS)
    return decode_bytes(data, "utf-8" if _is_utf8(data) else "").translate(_WITHOUT_CONTROLS)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
