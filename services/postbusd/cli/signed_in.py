"""Where the command line remembers who has signed in: session.json in the user's own configuration folder."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from postbus.runtime.layout import StartError, write_private


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A session, and the installation that it is one of."""

    url: str
    ca_file: str
    """Empty: the system's certificates."""
    username: str
    token: str


def session_file(environment: Mapping[str, str]) -> Path:
    """XDG Base Directory Specification. Raises StartError without a home."""
    folder = environment.get("XDG_CONFIG_HOME", "")
    if folder.startswith("/"):
        return Path(folder) / "postbus" / "session.json"
    home = environment.get("HOME", "")
    if not home:
        raise StartError("HOME is not set: there is no place for a session")
    return Path(home) / ".config" / "postbus" / "session.json"


def read_signed_in(environment: Mapping[str, str]) -> SignedIn | None:
    """None: nobody has signed in. Raises StartError."""
    if not environment.get("HOME") and not environment.get("XDG_CONFIG_HOME"):
        return None
    path = session_file(environment)
    try:
        return msgspec.json.decode(path.read_bytes(), type=SignedIn)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise StartError(f"{path} is no session: postbus login makes a new one") from error


def write_signed_in(environment: Mapping[str, str], signed_in: SignedIn) -> Path:
    """Mode 600. Raises StartError."""
    path = session_file(environment)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, msgspec.json.encode(signed_in) + b"\n")
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from error
    return path


def forget_signed_in(environment: Mapping[str, str]) -> None:
    """Nobody has signed in any more. Raises StartError."""
    path = session_file(environment)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from error
