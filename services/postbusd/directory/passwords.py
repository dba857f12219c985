"""What a password may be, its one form for hashing (RFC 8265 §4.2, OpaqueString), and digests that find its owner."""

import hashlib
import hmac
import unicodedata

from postbus.core.errors import ErrorKind, MailError

MIN_PASSWORD_CHARACTERS = 6
MAX_PASSWORD_OCTETS = 256


def prepare_password(password: str) -> str:
    """The form that is hashed: NFC, every kind of space an ASCII space."""
    spaced = "".join(" " if unicodedata.category(character) == "Zs" else character for character in password)
    return unicodedata.normalize("NFC", spaced)


def is_possible(password: str) -> bool:
    """Whether anybody can have this password; False needs no hashing."""
    return 0 < len(password) <= MAX_PASSWORD_OCTETS and _is_text(password) and _octets(password) <= MAX_PASSWORD_OCTETS


def check_new_password(password: str) -> str:
    """The form to hash. Raises MailError: INVALID."""
    if not _is_text(password):
        raise MailError(ErrorKind.INVALID, "password: control characters are not allowed")
    prepared = prepare_password(password)
    if len(prepared) < MIN_PASSWORD_CHARACTERS:
        raise MailError(ErrorKind.INVALID, f"password: at least {MIN_PASSWORD_CHARACTERS} characters")
    if _octets(prepared) > MAX_PASSWORD_OCTETS:
        raise MailError(ErrorKind.INVALID, f"password: at most {MAX_PASSWORD_OCTETS} octets of UTF-8")
    return prepared


def _is_text(password: str) -> bool:
    return not any(unicodedata.category(character) in {"Cc", "Cs"} for character in password)


def _octets(password: str) -> int:
    return len(password.encode("utf-8"))


def digest_of(secret_hash: str) -> str:
    """What a login is remembered by after its hash was replaced by another one of the same password."""
    return hashlib.sha256(secret_hash.encode()).hexdigest()


def provider_digest(issuer: str) -> str:
    """What sign-ins by an identity provider are remembered by, in the place of `digest_of` a secret."""
    return hashlib.sha256(f"identity provider {issuer}".encode()).hexdigest()


class CredentialKeys:
    """Keyed digests of secrets, under keys derived from the installation's master key.

    Without the master key the database tells nothing of a credential, and not even eight bits of a password.
    """

    def __init__(self, master_key: bytes) -> None:
        self._tag_key = hmac.digest(master_key, b"postbus directory password tag", hashlib.sha256)
        self._proof_key = hmac.digest(master_key, b"postbus directory login proof", hashlib.sha256)
        self._index_key = hmac.digest(master_key, b"postbus directory app credential", hashlib.sha256)

    def tag(self, password: str) -> int:
        """0 to 255, of a prepared password: a group's mailbox tries only members whose tag fits (architecture §6)."""
        return hmac.digest(self._tag_key, password.encode(), hashlib.sha256)[0]

    def proof(self, mailbox_id: str, member: str, digest: str) -> str:
        """What an open session shows for its login (`confirming`): another one after the secret has changed."""
        octets = f"{mailbox_id}\0{member}\0{digest}".encode()
        return hmac.digest(self._proof_key, octets, hashlib.sha256).hex()

    def index(self, credential: str) -> str:
        """64 hexadecimal digits, of an app's generated credential: what the database keeps of it."""
        return hmac.digest(self._index_key, credential.encode(), hashlib.sha256).hex()
