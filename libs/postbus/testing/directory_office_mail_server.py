"""Location, signature, other takers of mail and switches of domains: the fake in tests/, Postgres in integration/."""

from typing import Any

import pytest

from postbus.contracts import Empty
from postbus.contracts.directory import User
from postbus.contracts.domains import Domain, FindSignatureRequest, Signature
from postbus.contracts.policy import DEFAULT_DNSBLS, Dnsbl, DnsblMode
from postbus.core.errors import ErrorKind
from postbus.testing.directory_office import Office, refused
from postbus.testing.directory_office_policy import put as put_policy
from postbus.testing.directory_office_roles import ANN, put_user
from postbus.testing.directory_office_settings import put_domain

EVERYTHING: dict[str, Any] = {
    "mail_host": "mx.b.test",
    "signature": Signature(text="A Ltd.\nConfidential.", html="<p>A Ltd.</p>"),
    "alternate_mx": ("192.0.2.0/24", "2001:db8::/32", "in.filter.example"),
    "all_mail": True,
    "sharing": True,
    "search": False,
}


class MailServerContract:
    """Settings of a domain that other services read."""

    async def test_all_of_it_is_kept_told_and_taken_back(self, office: Office) -> None:
        """put_domain, get_domain, find_policy, find_signature."""
        assert await put_domain(office, "a.test") == Domain(name="a.test")
        set_ = await put_domain(office, "a.test", **EVERYTHING)
        assert set_ == Domain(name="a.test", **EVERYTHING) == await office.get("domain", "a.test")
        trace = await office.trace()
        assert await put_domain(office, "a.test", **EVERYTHING) == set_
        assert await office.trace() == trace
        await put_domain(office, "b.test", mail_host="mx.b.test", alternate_mx=("in.filter.example", "backup.example"))
        policy = await put_policy(office, mail_host="mail.a.test")
        found = await office.administration.find_policy(Empty())
        assert found.policy == policy.policy
        assert found.mail_hosts == ("mail.a.test", "mx.b.test")
        assert found.alternate_mx == ("192.0.2.0/24", "2001:db8::/32", "backup.example", "in.filter.example")
        assert await self._signature(office, "A.test") == EVERYTHING["signature"]
        for name in ("b.test", "none.test", ""):
            assert await self._signature(office, name) is None
        assert await put_domain(office, "a.test") == Domain(name="a.test") == await office.get("domain", "a.test")
        assert await self._signature(office, "a.test") is None

    async def _signature(self, office: Office, domain: str) -> Signature | None:
        reply = await office.administration.find_signature(FindSignatureRequest(domain=domain))
        assert reply.revision > 0
        return reply.signature

    async def test_each_has_one_form(self, office: Office) -> None:
        """put_domain."""
        put = await put_domain(
            office,
            "a.test",
            mail_host="MX.Bücher.example",
            signature=Signature(text="\r\nOne\r\ntwo\r\n\r\n", html=""),
            alternate_mx=("IN.filter.example", "2001:db8::1", "192.0.2.7", "in.filter.example"),
        )
        assert put.mail_host == "mx.xn--bcher-kva.example"
        assert put.signature == Signature(text="One\ntwo")
        assert put.alternate_mx == ("192.0.2.7/32", "2001:db8::1/128", "in.filter.example")
        assert (await put_domain(office, "a.test", signature=Signature(text=" \n\t\n"))).signature is None

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("mail_host", "localhost"),
            ("mail_host", "192.0.2.1"),
            ("mail_host", "a b.example"),
            ("signature.text", Signature(text="", html="<p>x</p>")),
            ("signature.text", Signature(text="x" * 10_001)),
            ("signature.text", Signature(text="a\0b")),
            ("signature.text", Signature(text="a\u202eb")),
            ("signature.html", Signature(text="x", html="<html>x</html>")),
            ("signature.html", Signature(text="x", html="< SCRIPT>x")),
            ("signature.html", Signature(text="x", html="x" * 50_001)),
            ("alternate_mx", ("filter",)),
            ("alternate_mx", ("192.0.2.1/24",)),
            ("alternate_mx", ("0.0.0.0/0",)),
            ("alternate_mx", ("",)),
            ("alternate_mx", tuple(f"mx{number}.example" for number in range(21))),
        ],
    )
    async def test_what_makes_no_sense_is_refused(self, office: Office, field: str, value: object) -> None:
        """put_domain: INVALID, naming the field."""
        await put_domain(office, "a.test")
        trace = await office.trace()
        with refused(ErrorKind.INVALID, f"{field}: "):
            fields: dict[str, Any] = {field.partition(".")[0]: value}
            await put_domain(office, "a.test", **fields)
        assert await office.trace() == trace

    async def test_the_names_of_the_server_are_few(self, office: Office) -> None:
        """put_domain: CONFLICT."""
        for number in range(50):
            await put_domain(office, f"d{number}.test", mail_host=f"mail.d{number}.test")
        await put_domain(office, "same.test", mail_host="mail.d1.test")
        with refused(ErrorKind.CONFLICT, "mail_host: at most 50"):
            await put_domain(office, "more.test", mail_host="mail.more.test")
        with refused(ErrorKind.NOT_FOUND, "name"):
            await office.get("domain", "more.test")
        await put_domain(office, "d7.test", mail_host="mail.more.test")

    async def test_what_only_superadmins_change(self, office: Office) -> None:
        """put_domain by a domain admin."""
        await office.put_domain("a.test")
        await put_user(office, User(username=ANN, admin_of=("a.test",)))
        for field in ("mail_host", "alternate_mx"):
            with refused(ErrorKind.FORBIDDEN, field):
                await put_domain(office, "a.test", ANN, **{field: EVERYTHING[field]})
        theirs = {name: value for name, value in EVERYTHING.items() if name not in ("mail_host", "alternate_mx")}
        assert await put_domain(office, "a.test", ANN, **theirs) == Domain(name="a.test", **theirs)

    @pytest.mark.parametrize("field", ["all_mail", "sharing", "search"])
    async def test_an_alias_domain_has_no_mailboxes_to_switch(self, office: Office, field: str) -> None:
        """put_domain with alias_of."""
        await office.put_domain("a.test")
        with refused(ErrorKind.INVALID, field):
            await put_domain(office, "b.test", alias_of="a.test", **{field: EVERYTHING[field]})

    async def test_dnsbls_by_zone(self, office: Office) -> None:
        """put_policy."""
        assert (await office.administration.find_policy(Empty())).policy.dnsbls == DEFAULT_DNSBLS
        put = await put_policy(
            office,
            dnsbls=(Dnsbl(zone="PSBL.example"), Dnsbl(zone="bl.example", mode=DnsblMode.REFUSE, score=0.0)),
        )
        assert [(each.zone, each.mode.value) for each in put.policy.dnsbls] == [
            ("bl.example", "refuse"),
            ("psbl.example", "score"),
        ]
        assert (await put_policy(office, dnsbls=())).policy.dnsbls == ()

    @pytest.mark.parametrize(
        ("field", "dnsbls"),
        [
            ("dnsbls.zone", (Dnsbl(zone="bl"),)),
            ("dnsbls.zone", (Dnsbl(zone="a b.example"),)),
            ("dnsbls.zone", (Dnsbl(zone=".".join(["abcdefghi"] * 19)),)),
            ("dnsbls.score", (Dnsbl(zone="bl.example", score=-1),)),
            ("dnsbls.score", (Dnsbl(zone="bl.example", score=float("nan")),)),
            ("dnsbls.lookup_url", (Dnsbl(zone="bl.example", lookup_url="javascript:x"),)),
            ("dnsbls.lookup_url", (Dnsbl(zone="bl.example", lookup_url="https://x.example/\r\n250 ok"),)),
            ("dnsbls", (Dnsbl(zone="bl.example"), Dnsbl(zone="BL.example"))),
            ("dnsbls", tuple(Dnsbl(zone=f"bl{number}.example") for number in range(21))),
        ],
    )
    async def test_a_dnsbl_that_makes_no_sense(self, office: Office, field: str, dnsbls: tuple[Dnsbl, ...]) -> None:
        """put_policy: INVALID, naming the field."""
        with refused(ErrorKind.INVALID, f"{field}: "):
            await put_policy(office, dnsbls=dnsbls)

    async def test_spam_rules_are_kept_or_refused_by_line(self, office: Office) -> None:
        """put_policy."""
        text = "header A Subject =~ /x/\r\nscore A 2\r\n"
        put = await put_policy(office, spam_rules=text)
        assert put.policy.spam_rules == text.replace("\r\n", "\n")
        assert (await office.administration.find_policy(Empty())).policy == put.policy
        with refused(ErrorKind.INVALID, "spam_rules: line 2: the closing / is missing"):
            await put_policy(office, spam_rules="\nbody A /x")
        assert (await office.administration.find_policy(Empty())).policy == put.policy
        assert (await put_policy(office, spam_rules=" \n")).policy.spam_rules == ""

    async def test_a_location_of_the_policy_that_makes_no_sense(self, office: Office) -> None:
        """put_policy: INVALID."""
        with refused(ErrorKind.INVALID, "mail_host: "):
            await put_policy(office, mail_host="mail")
