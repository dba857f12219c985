"""Every bound of the engine, with its unit and its source (promise 7)."""

MAX_LINE_OCTETS = 65_536
"""One line of a command. RFC 7162 §4 asks for 8192 at least; clients with large folders send longer sets."""
MAX_LINE_OCTETS_BEFORE_LOGIN = 8_192
"""RFC 7162 §4."""
MAX_COMMAND_OCTETS = 262_144
"""All lines and literals of a command, but for the message of an APPEND."""
MAX_COMMAND_OCTETS_BEFORE_LOGIN = 16_384
MAX_LITERAL_OCTETS = 131_072
"""A literal that is not the message of an APPEND."""
MAX_LITERAL_OCTETS_BEFORE_LOGIN = 1_024
"""User names and passwords."""
MAX_DISCARDED_OCTETS = 104_857_600
"""Of one command over a limit that are read and thrown away, so that the session can go on; then BYE (RFC 7888 §4)."""
MAX_DISCARDED_OCTETS_BEFORE_LOGIN = 1_048_576
MAX_APPEND_OCTETS = 52_428_800
"""Default for the message of an APPEND; the gateway's settings decide."""
MAX_UNANNOUNCED_OCTETS = 1_048_576
"""A larger literal that a client sends without waiting (RFC 7888) is told to the shell before it is read."""
MAX_TAG_OCTETS = 64
MAX_SET_RANGES = 10_000
"""Ranges in a sequence set."""
MAX_FETCH_ITEMS = 100
MAX_SECTION_DEPTH = 64
"""Numbers in a section, as in BODY[1.2.3]."""
MAX_HEADER_NAMES = 200
"""Names in HEADER.FIELDS."""
MAX_SEARCH_DEPTH = 32
"""Nesting of NOT, OR and parentheses."""
MAX_SEARCH_KEYS = 1_000
MAX_FLAGS = 100
"""Flags in one list."""
MAX_KEYWORD_OCTETS = 128
MAX_FOLDER_NAME_OCTETS = 1_024
MAX_LIST_PATTERNS = 20
"""Patterns in one LIST (RFC 5258 §3)."""
MAX_ID_PAIRS = 30
"""RFC 2971 §3.3."""
MAX_CONTINUATION_OCTETS = 12_288
"""A SASL response: base64 of at most 8192 octets, and room."""
MAX_ERRORS = 20
"""Refused commands in a row; then the server says BYE."""
MAX_ERRORS_BEFORE_LOGIN = 5
MAX_NUMBER = 0xFFFF_FFFF
"""RFC 9051 §9, number; nz-number."""
MAX_NUMBER64 = 0x7FFF_FFFF_FFFF_FFFF
"""RFC 9051 §9, number64."""
