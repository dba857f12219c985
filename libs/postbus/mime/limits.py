"""Every bound of the MIME scanner, and the closed list of defects (architecture promise 7).

Reaching a bound never raises: the scan goes on with what fits and carries the defect's name.
"""

import enum

MAX_DEPTH = 50
"""Nested multiparts and enclosed messages below the root."""
MAX_PARTS = 1_000
"""Body parts of a message, counted over all levels."""
MAX_HEADER_FIELDS = 1_000
"""Fields kept of one header section."""
MAX_HEADER_OCTETS = 1024 * 1024
"""Octets of one header section in which fields are looked for."""
MAX_PARAMETER_OCTETS = 2_048
"""One Content-* string: a parameter's value, an id, a description."""
MAX_PARAMETERS = 64
"""Parameters of one field, RFC 2231 sections counted one by one."""
MAX_CONTENT_FIELD_OCTETS = 64 * 1024
"""One Content-Type or Content-Disposition, unfolded."""
MAX_ADDRESSES = 2_000
"""Addresses of one envelope field, group markers included."""
MAX_ADDRESS_TOKENS = 20_000
"""Words and special characters of one address field that is not a plain list."""
MAX_ENVELOPE_OCTETS = 128 * 1024
"""One envelope field, unfolded."""
MAX_REFERENCES = 100
"""Message-IDs kept of References: the first and the latest ones."""
MAX_MESSAGE_ID_OCTETS = 998
"""RFC 5322 §2.1.1: a line."""
MAX_DELIMITER_CANDIDATES = 100_000
"""Lines that begin like a boundary delimiter and are none."""
MAX_PREVIEW_CHARACTERS = 256
"""RFC 8970 §3.1."""
MAX_PREVIEW_SOURCE_OCTETS = 16 * 1024
"""Of the first text part, before transfer decoding."""


class Defect(enum.StrEnum):
    """What is wrong with a message; the strings of `Scan.defects`."""

    DEPTH_LIMIT = "depth_limit"
    PART_LIMIT = "part_limit"
    HEADER_FIELD_LIMIT = "header_field_limit"
    HEADER_OCTET_LIMIT = "header_octet_limit"
    PARAMETER_LIMIT = "parameter_limit"
    ADDRESS_LIMIT = "address_limit"
    ENVELOPE_LIMIT = "envelope_limit"
    REFERENCE_LIMIT = "reference_limit"
    MALFORMED_HEADER = "malformed_header"
    """A line of a header section is neither a field nor a continuation."""
    MISSING_HEADER_END = "missing_header_end"
    """No empty line after a header section."""
    MALFORMED_CONTENT_TYPE = "malformed_content_type"
    MISSING_BOUNDARY = "missing_boundary"
    """multipart/* without a boundary parameter."""
    NO_PARTS = "no_parts"
    """multipart/* without a single delimiter line."""
    UNCLOSED_MULTIPART = "unclosed_multipart"
    """multipart/* without its closing delimiter."""
    ENCODED_MESSAGE = "encoded_message"
    """message/rfc822 in base64 or quoted-printable: not looked into."""
    MALFORMED_DATE = "malformed_date"
