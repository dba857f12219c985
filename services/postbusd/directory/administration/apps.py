"""Apps: programs that send mail, each with one mailbox and one generated credential that is told once."""

import base64
import secrets

import msgspec

from postbus.contracts.directory import (
    App,
    AppPage,
    DeleteReply,
    DeleteRequest,
    ObjectRequest,
    PageRequest,
    PutAppReply,
    PutAppRequest,
)
from postbus.core.ids import MailboxId, new_mailbox_id
from postbusd.directory.administration.desk import Desk, check_page, require_superadmin, word
from postbusd.directory.administration.refusals import no_such
from postbusd.directory.administration.rules import check_free, decide_app
from postbusd.directory.administration.values import AppChange
from postbusd.directory.names import check_app_name, check_mailbox_address, read_domain

CREDENTIAL_OCTETS = 16  # architecture §6: 128 bits
CREDENTIAL_GROUP = 5  # characters between dashes, for people who copy it


class Apps(Desk):
    """The AppAdmin."""

    async def put_app(self, request: PutAppRequest) -> PutAppReply:
        """Creates or changes an app, its mailbox with it; the mail store's part of the mailbox is made first."""
        require_superadmin(request.actor)
        name = check_app_name(request.name)
        credential = make_credential()
        change = AppChange(
            name=name,
            domain=read_domain("domain", request.domain) if request.domain else "",
            address=check_mailbox_address(request.address, of_app=True) if request.address else None,
            active=request.active,
            rotate=request.rotate,
            credential=self._tools.keys.index(credential),
            new_id=None,
        )
        before = await self._repository.find_app(name)
        wanted, address = decide_app(change, before)
        if before is None:
            check_free(await self._repository.find_place(address), address)
            change = msgspec.structs.replace(change, new_id=await self._make_mailbox())
        facts = [f"address={address}", f"active={word(wanted.active)}"]
        facts += ["new credential"] if before is None or request.rotate else []
        event = self._event(f"app {name} set by {request.actor}", facts, domain=address.domain, mailbox=str(address))
        written = await self._repository.put_app(change, event)
        await self._announce(written, addresses=[before.address if before else "", written.object.address])
        told = credential if written.created or request.rotate else ""
        return PutAppReply(app=written.object, created=written.created, credential=told)

    async def get_app(self, request: ObjectRequest) -> App:
        """One app."""
        require_superadmin(request.actor)
        name = check_app_name(request.name)
        app = await self._repository.find_app(name)
        if app is None:
            raise no_such("name", "app", name)
        return app

    async def list_apps(self, request: PageRequest) -> AppPage:
        """One page of apps, of the domain that their mailboxes are in."""
        require_superadmin(request.actor)
        wanted = check_page(request.after, request.limit, request.domain)
        page = await self._repository.list_apps(wanted.domain, wanted.after, wanted.limit)
        return AppPage(apps=page.objects, next_after=page.objects[-1].name if page.more else "")

    async def delete_app(self, request: DeleteRequest) -> DeleteReply:
        """Deletes an app and ends its mailbox."""
        require_superadmin(request.actor)
        name = check_app_name(request.name)
        event = self._event(f"app {name} deleted by {request.actor}")
        deleted = await self._repository.delete_app(name, event, dry_run=request.dry_run)
        return await self._ended(request, deleted)

    async def _make_mailbox(self) -> MailboxId:
        mailbox_id = new_mailbox_id(self._tools.clock.now_ms())
        await self._tools.accounts.ensure_mailbox(mailbox_id)
        return mailbox_id


def make_credential() -> str:
    """A new one, of 128 bits, in a form that can be read out."""
    text = base64.b32encode(secrets.token_bytes(CREDENTIAL_OCTETS)).decode().rstrip("=").lower()
    return "-".join(text[at : at + CREDENTIAL_GROUP] for at in range(0, len(text), CREDENTIAL_GROUP))
