"""The quota in force: that of the login, and before a refusal that of the directory, for sessions last for days."""

import logging

import msgspec

from postbus.contracts.directory import ResolveRequest
from postbus.core.errors import MailError
from postbusd.imap_gateway.state import SessionState

log = logging.getLogger(__name__)


async def renew_quota(session: SessionState) -> bool:
    """Asks directory for the mailbox's quota; whether it is another one than at login: what was refused may be tried.

    Directory away: the quota known is in force.
    """
    account = session.require_account()
    try:
        reply = await session.deps.resolver.resolve(ResolveRequest(forward_paths=(account.address,), bypass_cache=True))
    except MailError as error:
        log.warning("imap.quota.unknown", extra={"session_id": session.session_id, "reason": error.detail})
        return False
    for resolution in reply.resolutions:
        for target in resolution.targets:
            if target.mailbox_id == account.mailbox_id and target.quota_octets != account.quota_octets:
                session.account = msgspec.structs.replace(account, quota_octets=target.quota_octets)
                return True
    return False
