"""ConfirmLogins: whether the logins of open sessions still stand, read from the database and from no cache.

A proof is a keyed digest of the mailbox, of who opened it and of what is stored of the secret: it changes when the
secret does, and it tells nothing to who sees it. A login stands while mailbox and opener are there and active, a
group's member is one still, and the proof is the same.
"""

import hmac

from postbus.contracts.logins import (
    MAX_SHOWN_LOGINS,
    ConfirmedLogin,
    ConfirmLoginsReply,
    ConfirmLoginsRequest,
    ShownLogin,
)
from postbus.core.errors import ErrorKind, MailError
from postbusd.directory.passwords import CredentialKeys
from postbusd.directory.ports import DirectoryReader
from postbusd.directory.values import Opening

_ENDED = ConfirmedLogin(stands=False)


class LoginConfirming:
    """The LoginConfirmer of directory."""

    def __init__(self, reader: DirectoryReader, keys: CredentialKeys) -> None:
        self._reader = reader
        self._keys = keys

    async def confirm_logins(self, request: ConfirmLoginsRequest) -> ConfirmLoginsReply:
        """Which of these logins still stand. Raises MailError: UNAVAILABLE, LIMIT."""
        if len(request.logins) > MAX_SHOWN_LOGINS:
            raise MailError(ErrorKind.LIMIT, f"logins: at most {MAX_SHOWN_LOGINS}")
        revision, openings = await self._reader.load_openings(
            [(each.mailbox_id, each.member) for each in request.logins]
        )
        return ConfirmLoginsReply(
            logins=tuple(self._judge(*pair) for pair in zip(request.logins, openings, strict=True)), revision=revision
        )

    def _judge(self, shown: ShownLogin, opening: Opening | None) -> ConfirmedLogin:
        if opening is None:
            return _ENDED
        proofs = (self._keys.proof(shown.mailbox_id, shown.member, digest) for digest in opening.digests)
        if not any(hmac.compare_digest(proof, shown.proof) for proof in proofs):
            return _ENDED
        return ConfirmedLogin(stands=True, quota_octets=opening.quota_octets)
