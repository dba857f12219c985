"""Apps: programs that send mail, each with one mailbox and one generated credential that is told once."""

import msgspec

from postbus.contracts.condition import Condition
from postbus.contracts.directory import (
    App,
    AppPage,
    PutAppReply,
    PutAppRequest,
)
from postbus.contracts.objects import (
    DeleteReply,
    DeleteRequest,
    ObjectRequest,
    PageRequest,
)
from postbus.contracts.standing import Standing
from postbus.core.ids import MailboxId, new_mailbox_id
from postbusd.directory.administration.desk import Desk, check_list, word
from postbusd.directory.administration.refusals import no_such
from postbusd.directory.administration.rules import check_free, decide_app
from postbusd.directory.administration.scope import domain_of, forbidden, require_domain, seen_domains
from postbusd.directory.administration.secrets import make_secret
from postbusd.directory.administration.values import AppChange
from postbusd.directory.names import check_app_name, check_mailbox_address, read_domain


class Apps(Desk):
    """The AppAdmin."""

    async def put_app(self, request: PutAppRequest) -> PutAppReply:
        """Creates or changes an app, its mailbox with it; the mail store's part of the mailbox is made first."""
        standing = await self._standing(request.actor)
        name = check_app_name(request.name)
        credential = make_secret()
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
        if before is not None:
            require_domain(standing, "name", domain_of(before.address))
        wanted, address = decide_app(change, before)
        require_domain(standing, "address", address.domain)
        if before is None:
            check_free(await self._repository.find_place(address), address)
            change = msgspec.structs.replace(change, new_id=await self._make_mailbox(request.condition))
        facts = [f"address={address}", f"active={word(wanted.active)}"]
        facts += ["new credential"] if before is None or request.rotate else []
        act = self._act(
            standing, request.condition, f"app {name} set", facts, domain=address.domain, mailbox=str(address)
        )
        written = await self._repository.put_app(change, act)
        await self._announce(written, addresses=[before.address if before else "", written.object.address])
        told = credential if (written.created or request.rotate) and not written.planned else ""
        return PutAppReply(app=written.object, created=written.created, credential=told)

    async def get_app(self, request: ObjectRequest) -> App:
        """One app."""
        standing = await self._standing(request.actor)
        return await self._get_app(standing, check_app_name(request.name))

    async def list_apps(self, request: PageRequest) -> AppPage:
        """One page of apps, of the domain that their mailboxes are in."""
        standing = await self._standing(request.actor)
        wanted = check_list(request, request.domain)
        domains = seen_domains(standing, wanted.domain)
        page = await self._repository.list_apps(domains, wanted)
        return AppPage(apps=page.objects, next_after=page.objects[-1].name if page.more else "")

    async def delete_app(self, request: DeleteRequest) -> DeleteReply:
        """Deletes an app and ends its mailbox."""
        standing = await self._standing(request.actor)
        name = check_app_name(request.name)
        await self._get_app(standing, name)
        act = self._act(standing, request.condition, f"app {name} deleted")
        deleted = await self._repository.delete_app(name, act, dry_run=request.dry_run)
        return await self._ended(request, deleted)

    async def _get_app(self, standing: Standing, name: str) -> App:
        app = await self._repository.find_app(name)
        if app is not None:
            require_domain(standing, "name", domain_of(app.address))
        elif standing.superadmin:
            raise no_such("name", "app", name)
        else:
            raise forbidden(f"name: {standing.actor} does not administer app {name}")
        return app

    async def _make_mailbox(self, condition: Condition) -> MailboxId:
        mailbox_id = new_mailbox_id(self._tools.clock.now_ms())
        if not condition.plan:
            await self._tools.accounts.ensure_mailboxes([mailbox_id])
        return mailbox_id
