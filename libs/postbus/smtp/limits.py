"""Every bound of the engine, with unit and source (promise 7)."""

from typing import Final

MAX_COMMAND_LINE_OCTETS: Final = 2048
"""With CRLF. RFC 5321 §4.5.3.1.4 asks for 512; RFC 3461 §5 adds 600 to MAIL and 500 to RCPT, RFC 4954 §3 adds 500."""
MAX_AUTH_LINE_OCTETS: Final = 12_288
"""With CRLF, of AUTH and of each response. RFC 4954 §4."""
MAX_DISCARDED_OCTETS: Final = 1_048_576
"""Of one over-long line, before the session ends."""
MAX_TEXT_LINE_OCTETS: Final = 1_048_576
"""Of a line of message text, without CRLF. RFC 5321 §4.5.3.1.6 asks for 1000; programs send HTML as one line."""
MAX_PATH_OCTETS: Final = 515
"""Of a path with its brackets: local_part, @ and domain at their limits. RFC 5321 §4.5.3.1.3 asks for 256."""
MAX_HELO_OCTETS: Final = 255
"""RFC 5321 §4.5.3.1.2."""
MAX_PARAMETERS: Final = 16
"""Of one MAIL or RCPT; there are eight to know."""
MAX_ENVID_OCTETS: Final = 100
"""RFC 3461 §4.4."""
MAX_ORCPT_OCTETS: Final = 500
"""RFC 3461 §4.2."""
MAX_RECEIVED_FIELDS: Final = 100
"""RFC 5321 §6.3: at least 100."""
MAX_REPLY_TEXT_OCTETS: Final = 480
"""Of one reply line's text: RFC 5321 §4.5.3.1.5 allows 512 with code and CRLF."""
MAX_LOOK_AHEAD: Final = 100
"""RCPT commands that are looked at before their turn."""
MAX_REPLY_LINE_OCTETS: Final = 4096
"""Of one line of a peer's reply, without LF. RFC 5321 §4.5.3.1.5 allows 512; explanations with links are longer."""
MAX_REPLY_OCTETS: Final = 65_536
"""Of all lines of one reply."""
MAX_SHOWN_REPLY_OCTETS: Final = 1000
"""Of a peer's reply as it is kept and told to people."""
