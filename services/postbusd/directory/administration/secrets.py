"""Generated secrets: of apps and app passwords."""

import base64
import secrets

SECRET_OCTETS = 16  # architecture §6: 128 bits
SECRET_GROUP = 5  # characters between dashes, for people who copy it


def make_secret() -> str:
    """A new one, of 128 bits, in a form that can be read out."""
    text = base64.b32encode(secrets.token_bytes(SECRET_OCTETS)).decode().rstrip("=").lower()
    return "-".join(text[at : at + SECRET_GROUP] for at in range(0, len(text), SECRET_GROUP))
