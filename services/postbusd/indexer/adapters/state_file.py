"""RebuildRecord in a file beside the index: replaced as a whole, so that a crash leaves the old one or the new one."""

import asyncio
import os
from pathlib import Path

import msgspec

from postbus.core.errors import ErrorKind, MailError
from postbusd.indexer.values import IndexState


class StateFile:
    """`state.json`."""

    def __init__(self, path: Path) -> None:
        """Reads what is there."""
        self._path = path
        self._found = _read(path)
        self.state = self._found or IndexState(schema=0)

    @property
    def exists(self) -> bool:
        """Whether there was one, readable or not: an index was made here before."""
        return self._found is not None

    def reset(self, schema: int) -> None:
        """A new, empty index: everything is still to come."""
        self._write(IndexState(schema=schema))

    async def save(self, state: IndexState) -> None:
        """Durable when it returns."""
        try:
            await asyncio.to_thread(self._write, state)
        except OSError as error:
            raise MailError(ErrorKind.UNAVAILABLE, f"search index: {type(error).__name__}") from error

    def _write(self, state: IndexState) -> None:
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(state))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        self.state = state


def _read(path: Path) -> IndexState | None:
    """None: there never was one. One that can't be read is of no schema."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=IndexState)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError):
        return IndexState(schema=0)
