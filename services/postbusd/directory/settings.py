"""Settings of directory: POSTBUS_DIRECTORY_<FIELD>. What administrators change at run time is data, not a setting."""

from typing import Annotated

import msgspec

from postbus.runtime.settings import field_doc


class DirectorySettings(msgspec.Struct, frozen=True, kw_only=True):
    """How much hashing this process takes on."""

    hash_threads: Annotated[int, field_doc("Passwords hashed at the same time; each takes 19 MiB.")] = 2
    queue_logins: Annotated[int, field_doc("Password checks that may wait for a thread; further ones are put off.")] = (
        64
    )
