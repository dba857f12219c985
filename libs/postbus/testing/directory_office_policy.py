"""What the administrator's commands do to the policy: over the fake in tests/, over Postgres in integration/."""

import msgspec
import pytest

from postbus.contracts import Empty
from postbus.contracts.directory import PutUserRequest, User
from postbus.contracts.policy import DmarcReject, GetPolicyRequest, Policy, PolicyReply, PutPolicyRequest
from postbus.core.errors import ErrorKind
from postbus.testing.directory_office import ADMIN, Office, refused
from postbus.testing.directory_office_contract import events_of


async def put(office: Office, **fields: object) -> PolicyReply:
    """The defaults but for these."""
    policy = msgspec.structs.replace(Policy(), **fields)
    return await office.administration.put_policy(PutPolicyRequest(policy=policy, actor=ADMIN))


class PolicyCommandsContract:
    """The PolicyAdmin and the PolicyFinder."""

    async def test_the_defaults_hold_until_it_is_set(self, office: Office) -> None:
        """get_policy, find_policy."""
        for reply in (
            await office.administration.get_policy(GetPolicyRequest(actor=ADMIN)),
            await office.administration.find_policy(Empty()),
        ):
            assert reply.policy == Policy()
        assert Policy().max_message_octets == 25 * 1024 * 1024

    async def test_it_is_replaced_told_and_an_event(self, office: Office) -> None:
        """put_policy; a repeat changes nothing."""
        fields = {
            "max_message_octets": 1 << 20,
            "required_score": 7.25,
            "dmarc_reject": DmarcReject.QUARANTINE,
            "messages_per_hour": 0,
            "blocked_senders": ("*@Spam.example", "bad.example", "*@spam.example"),
            "blocked_networks": ("2001:db8::/32", "192.0.2.0/24", "10.0.0.0/8"),
        }
        reply = await put(office, **fields)
        assert reply.policy.blocked_senders == ("*@spam.example", "bad.example")
        assert reply.policy.blocked_networks == ("10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32")
        assert (await office.administration.find_policy(Empty())) == reply
        assert office.told[-1].revision == reply.revision
        assert (await put(office, **fields)) == reply
        (event,) = await events_of(office)
        assert event.summary == "policy set by admin"
        assert "required_score=7.25" in event.detail
        assert "blocked_senders: +*@spam.example +bad.example" in event.detail
        back = await put(office)
        assert back.policy == Policy()
        assert back.revision > reply.revision
        (event,) = await events_of(office)
        assert "blocked_networks: -10.0.0.0/8" in event.detail

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("max_message_octets", 65_535),
            ("max_message_octets", (1 << 30) + 1),
            ("required_score", 0.0),
            ("required_score", 100.1),
            ("required_score", float("nan")),
            ("messages_per_hour", -1),
            ("recipients_per_day", 1_000_000_001),
            ("blocked_senders", ("a b@x.example",)),
            ("blocked_senders", ("a@b@c",)),
            ("blocked_senders", ("",)),
            ("blocked_senders", ("*",)),
            ("blocked_senders", ("*@*",)),
            ("welcome_senders", ("a\nb.example",)),
            ("welcome_senders", ("x" * 321,)),
            ("welcome_senders", tuple(f"{number}.example" for number in range(1_001))),
            ("blocked_networks", ("192.0.2.1/24",)),
            ("blocked_networks", ("0.0.0.0/0",)),
            ("blocked_networks", ("nonsense",)),
        ],
    )
    async def test_what_makes_no_sense_is_refused(self, office: Office, field: str, value: object) -> None:
        """put_policy: INVALID, naming the field."""
        with refused(ErrorKind.INVALID, f"{field}: "):
            await put(office, **{field: value})
        assert (await office.administration.find_policy(Empty())).policy == Policy()

    async def test_only_a_superadmin_may(self, office: Office) -> None:
        """get_policy, put_policy: FORBIDDEN."""
        await office.put_domain("a.test")
        user = User(username="kim", admin_of=("a.test",))
        await office.administration.put_user(PutUserRequest(user=user, actor=ADMIN))
        with refused(ErrorKind.FORBIDDEN, "only a superadmin"):
            await office.administration.get_policy(GetPolicyRequest(actor="kim"))
        with refused(ErrorKind.FORBIDDEN, "only a superadmin"):
            await office.administration.put_policy(PutPolicyRequest(policy=Policy(), actor="kim"))
