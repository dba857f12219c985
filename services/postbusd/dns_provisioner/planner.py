"""Plans a domain's DNS and, on request, compares it with what the DNS says. Never changes a zone."""

import asyncio
from collections.abc import Sequence

from postbus.contracts import Empty
from postbus.contracts.dns_provisioner import PlanDomainReply, PlanDomainRequest, WantedRecord
from postbus.contracts.objects import ObjectRequest
from postbus.core.address import parse_domain
from postbus.core.errors import MailError
from postbus.runtime.dns import RecordType, Resolver
from postbusd.dns_provisioner.judgement import judge_dkim, judge_dmarc, judge_mx, judge_silence, judge_spf
from postbusd.dns_provisioner.keyring import DkimKeyring
from postbusd.dns_provisioner.plan import DKIM_LABEL, DMARC_LABEL, plan_records
from postbusd.dns_provisioner.ports import PlannedDomains
from postbusd.dns_provisioner.zone_file import format_zone


class DomainPlanner:
    """Implements `postbus.contracts.dns_provisioner.DnsPlanner`."""

    def __init__(self, keyring: DkimKeyring, directory: PlannedDomains, resolver: Resolver, mail_host: str) -> None:
        """`mail_host` is the mail server's location where neither domain nor policy names one.

        `resolver` should keep little: an administrator looks at what was just changed.
        """
        self._keyring = keyring
        self._directory = directory
        self._resolver = resolver
        self._mail_host = mail_host.removesuffix(".")

    async def plan_domain(self, request: PlanDomainRequest) -> PlanDomainReply:
        """See `DnsPlanner.plan_domain`. Raises MailError: INVALID, NOT_FOUND, FORBIDDEN (as directory), UNAVAILABLE."""
        name = parse_domain(request.domain.removesuffix("."))
        domain = await self._directory.get_domain(ObjectRequest(name=name, actor=request.actor))
        policy = (await self._directory.find_policy(Empty())).policy
        mail_host = domain.mail_host or policy.mail_host or parse_domain(self._mail_host)
        records = plan_records(domain, mail_host, await self._keyring.ensure_public_keys(name))
        zone = format_zone(name, records)
        if request.compare:
            records = tuple(await asyncio.gather(*(self._compare(record) for record in records)))
        return PlanDomainReply(domain=name, records=records, zone=zone)

    async def _compare(self, wanted: WantedRecord) -> WantedRecord:
        try:
            answer = await self._resolver.resolve(wanted.name, RecordType(wanted.type))
        except MailError as error:
            return judge_silence(wanted, error.detail)
        if wanted.type == RecordType.MX:
            return judge_mx(wanted, [(record.preference, record.exchange) for record in answer.exchanges()])
        return _judge_text(wanted, [text.decode("utf-8", "replace") for text in answer.texts()])


def _judge_text(wanted: WantedRecord, texts: Sequence[str]) -> WantedRecord:
    if f".{DKIM_LABEL}." in wanted.name:
        return judge_dkim(wanted, texts)
    if wanted.name.startswith(f"{DMARC_LABEL}."):
        return judge_dmarc(wanted, texts)
    return judge_spf(wanted, texts)
