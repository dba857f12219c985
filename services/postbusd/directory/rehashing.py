"""Hashes of other systems and former costs are replaced when their owner shows the password."""

import logging

from postbus.core.errors import MailError
from postbusd.directory.passwords import CredentialKeys
from postbusd.directory.ports import PasswordHasher, PasswordKeeper
from postbusd.directory.values import StoredPassword

log = logging.getLogger(__name__)


async def refresh_hash(
    keeper: PasswordKeeper, hasher: PasswordHasher, keys: CredentialKeys, username: str, shown: tuple[str, str]
) -> str:
    """`shown`: the hash and the password that it was verified with. The hash that is stored now."""
    secret_hash, password = shown
    if not hasher.is_outdated(secret_hash):
        return secret_hash
    try:
        made = await hasher.hash(password)
        stored = StoredPassword(secret_hash=made, tag=keys.tag(password))
        if not await keeper.replace_password(username, secret_hash, stored):
            return secret_hash
    except MailError as error:
        log.warning("directory.hash.kept", extra={"username": username, "reason": str(error)})
        return secret_hash
    log.info("directory.hash.replaced", extra={"username": username})
    return made
