"""Plans: the records, their zone file as dnspython reads it, and the whole road with a fake DNS."""

import base64

import dns.rdatatype
import dns.zone
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postbus.contracts import Empty
from postbus.contracts.dns_provisioner import (
    DkimAlgorithm,
    PlanDomainReply,
    PlanDomainRequest,
    RecordState,
    WantedRecord,
)
from postbus.contracts.domains import Domain
from postbus.contracts.objects import ObjectRequest
from postbus.contracts.policy import Policy, PolicyReply
from postbus.contracts.relays import Relay
from postbus.core.errors import ErrorKind, MailError
from postbus.testing.dns import FakeResolver
from postbusd.dns_provisioner.plan import plan_records
from postbusd.dns_provisioner.planner import DomainPlanner
from postbusd.dns_provisioner.values import PublicDkimKey
from postbusd.dns_provisioner.zone_file import format_zone

KEYS = (
    PublicDkimKey(
        selector="postbus-0a1b2c3d-1", algorithm=DkimAlgorithm.RSA_SHA256, public_key=bytes(range(256)) + b"x" * 38
    ),
    PublicDkimKey(selector="postbus-0a1b2c3d-2", algorithm=DkimAlgorithm.ED25519_SHA256, public_key=b"e" * 32),
)
HOST = "mail.example.net"


def plan(**changes: object) -> tuple[WantedRecord, ...]:
    domain = Domain(**({"name": "example.com", "incoming": True} | changes))  # type: ignore[arg-type]
    return plan_records(domain, HOST, KEYS)


def read_zone(text: str) -> set[tuple[str, str, int, str]]:
    """Name, type, ttl and value of every record, by dnspython."""
    found = dns.zone.from_text(text, origin=".", relativize=False, check_origin=False)
    records = set()
    for name, ttl, data in found.iterate_rdatas():
        kind = dns.rdatatype.to_text(data.rdtype)
        value = b"".join(data.strings).decode() if kind == "TXT" else data.to_text()  # type: ignore[attr-defined]
        records.add((name.to_text(omit_final_dot=True), kind, ttl, value))
    return records


def test_a_domain_that_we_take_mail_for_needs_five_records() -> None:
    rsa, ed25519 = (base64.b64encode(key.public_key).decode() for key in KEYS)
    assert [(record.name, record.type, record.values) for record in plan()] == [
        ("example.com", "MX", ("10 mail.example.net.",)),
        ("example.com", "TXT", ("v=spf1 a:mail.example.net -all",)),
        ("postbus-0a1b2c3d-1._domainkey.example.com", "TXT", (f"v=DKIM1; k=rsa; p={rsa}",)),
        ("postbus-0a1b2c3d-2._domainkey.example.com", "TXT", (f"v=DKIM1; k=ed25519; p={ed25519}",)),
        ("_dmarc.example.com", "TXT", ("v=DMARC1; p=reject; rua=mailto:postmaster@example.com; pct=100",)),
    ]
    assert all(record.purpose and record.state is RecordState.UNKNOWN and not record.advice for record in plan())


def test_hosts_that_take_our_mail_come_after_us() -> None:
    mx = plan(alternate_mx=("192.0.2.0/24", "backup.example", "in.filter.example"))[0]
    assert mx.values == ("10 mail.example.net.", "20 backup.example.", "20 in.filter.example.")


@pytest.mark.parametrize(
    ("of_domain", "of_policy", "location"),
    [
        ("", "", "mail.example.net"),
        ("", "mx.policy.example", "mx.policy.example"),
        ("mx.domain.example", "mx.policy.example", "mx.domain.example"),
    ],
)
async def test_the_location_of_the_mail_server(of_domain: str, of_policy: str, location: str) -> None:
    directory = FakeDomains(Domain(name="example.com", incoming=True, mail_host=of_domain), Policy(mail_host=of_policy))
    reply = await ask(FakeResolver(), compare=False, directory=directory)
    assert reply.records[0].values == (f"10 {location}.",)
    assert reply.records[1].values == (f"v=spf1 a:{location} -all",)


def test_without_incoming_mail_there_is_no_mx() -> None:
    assert [record.type for record in plan(incoming=False)] == ["TXT"] * 4


def test_a_relay_softens_spf_and_asks_for_its_mechanism() -> None:
    spf = plan(relay=Relay(host="smtp.relay.example"))[1]
    assert spf.values == ("v=spf1 a:mail.example.net ~all",)
    assert "smtp.relay.example" in spf.advice
    assert "include:" in spf.advice


def test_the_zone_file_reads_back_as_the_plan() -> None:
    records = plan(relay=Relay(host="smtp.relay.example"))
    text = format_zone("example.com", records)
    wanted = {(record.name, record.type, record.ttl_seconds, value) for record in records for value in record.values}
    assert read_zone(text) == wanted
    assert all(record.purpose in text for record in records)
    assert text.isascii()
    assert text.endswith("\n")


@given(
    text=st.text(st.characters(max_codepoint=0x2FF, exclude_categories=["Cs"]), max_size=700),
    purpose=st.text(max_size=60),
)
def test_any_text_survives_the_zone_file(text: str, purpose: str) -> None:
    record = WantedRecord(name="x.example.com", type="TXT", values=(text,), purpose=purpose, ttl_seconds=60)
    assert read_zone(format_zone("example.com", (record,))) == {("x.example.com", "TXT", 60, text)}


class FakeKeyring:
    """ensure_public_keys."""

    async def ensure_public_keys(self, domain: str) -> tuple[PublicDkimKey, ...]:
        return KEYS


class FakeDomains:
    """directory with example.com, for admin only."""

    def __init__(self, domain: Domain | None = None, policy: Policy | None = None) -> None:
        self.domain = domain or Domain(name="example.com", incoming=True)
        self.policy = policy or Policy()

    async def get_domain(self, request: ObjectRequest) -> Domain:
        if request.actor != "admin":
            raise MailError(ErrorKind.FORBIDDEN, "no")
        if request.name != "example.com":
            raise MailError(ErrorKind.NOT_FOUND, f"domain: {request.name}")
        return msgspec.structs.replace(self.domain, name=request.name)

    async def find_policy(self, request: Empty) -> PolicyReply:
        return PolicyReply(policy=self.policy, revision=1)


async def ask(
    resolver: FakeResolver,
    *,
    domain: str = "example.com",
    actor: str = "admin",
    compare: bool = True,
    directory: FakeDomains | None = None,
) -> PlanDomainReply:
    planner = DomainPlanner(FakeKeyring(), directory or FakeDomains(), resolver, "Mail.Example.NET.")  # type: ignore[arg-type]
    return await planner.plan_domain(PlanDomainRequest(domain=domain, actor=actor, compare=compare))


async def test_a_plan_alone_asks_no_dns() -> None:
    resolver = FakeResolver()
    reply = await ask(resolver, compare=False, domain="Example.com.")
    assert resolver.queries == []
    assert reply == PlanDomainReply(domain="example.com", records=plan(), zone=format_zone("example.com", plan()))


async def test_an_empty_dns_lacks_everything_and_the_plan_itself_is_well() -> None:
    resolver = FakeResolver()
    assert {record.state for record in (await ask(resolver)).records} == {RecordState.MISSING}
    for record in plan():
        if record.type == "TXT":
            resolver.add_txt(record.name, *record.values)
    resolver.add_mx("example.com", (10, HOST)).add_txt("example.com", "site-verification=1")
    reply = await ask(resolver)
    assert {(record.state, record.advice) for record in reply.records} == {(RecordState.OK, "")}
    assert [record.live for record in reply.records] == [record.values for record in plan()]


async def test_one_silent_name_leaves_the_others_judged() -> None:
    resolver = FakeResolver().fail("_dmarc.example.com")
    states = [record.state for record in (await ask(resolver)).records]
    assert states == [RecordState.MISSING] * 4 + [RecordState.UNKNOWN]
    assert "no answer" in (await ask(resolver)).records[-1].advice


@pytest.mark.parametrize(
    ("domain", "actor", "kind"),
    [
        ("example.org", "admin", ErrorKind.NOT_FOUND),
        ("example.com", "somebody", ErrorKind.FORBIDDEN),
        ("no domain", "admin", ErrorKind.INVALID),
    ],
)
async def test_the_scope_is_directory_s(domain: str, actor: str, kind: ErrorKind) -> None:
    with pytest.raises(MailError) as caught:
        await ask(FakeResolver(), domain=domain, actor=actor)
    assert caught.value.kind is kind


def test_replies_are_values() -> None:
    assert msgspec.json.decode(msgspec.json.encode(plan()), type=tuple[WantedRecord, ...]) == plan()
