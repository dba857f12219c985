"""Codes of authenticator apps (TOTP, RFC 6238): six digits of HMAC-SHA-1, a new one every 30 s: every app knows these.

Pure: time is an argument.
"""

import base64
import hmac
import secrets

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

STEP_SECONDS = 30
DIGITS = 6
SECRET_OCTETS = 20  # RFC 4226 §4, R6
WINDOW = 1
"""Steps that a clock may be off, before and after (RFC 6238 §5.2)."""


def new_totp_secret() -> bytes:
    """A new one."""
    return secrets.token_bytes(SECRET_OCTETS)


def code_of(secret: bytes, step: int) -> str:
    """The code of one step."""
    return TOTP(secret, DIGITS, SHA1(), STEP_SECONDS).generate(step * STEP_SECONDS).decode()  # noqa: S303 (RFC 6238)


def step_at(now_ms: int) -> int:
    """The step of a moment."""
    return now_ms // 1000 // STEP_SECONDS


def find_step(secret: bytes, code: str, now_ms: int) -> int | None:
    """The step that a code belongs to; None: it is not one of now."""
    if len(code) != DIGITS or not code.isascii() or not code.isdigit():
        return None
    now = step_at(now_ms)
    fitting = [
        step for step in range(now - WINDOW, now + WINDOW + 1) if hmac.compare_digest(code_of(secret, step), code)
    ]
    return fitting[-1] if fitting else None


def typed_secret(secret: bytes) -> str:
    """Base32 without padding, for who can't scan."""
    return base64.b32encode(secret).decode().rstrip("=")


def totp_uri(secret: bytes, username: str, issuer: str) -> str:
    """`otpauth://totp/…`, what apps read from a QR code."""
    return TOTP(secret, DIGITS, SHA1(), STEP_SECONDS).get_provisioning_uri(username, issuer)  # noqa: S303 (the same)
