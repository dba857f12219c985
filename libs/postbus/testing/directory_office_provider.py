"""The identity provider: settings, sign-ins, bearer tokens: over the fake in tests/, over Postgres in integration/."""

import urllib.parse
from typing import Any

import jwt
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from postbus.contracts import Empty
from postbus.contracts.app_passwords import Access
from postbus.contracts.condition import Condition
from postbus.contracts.identity_provider import (
    AuthenticateTokenRequest,
    BeginProviderSignInRequest,
    FinishProviderSignInRequest,
    GetIdentityProviderRequest,
    IdentityProvider,
    PutIdentityProviderRequest,
)
from postbus.contracts.logins import AuthenticateReply
from postbus.contracts.owners import Owner, OwnerKind
from postbus.contracts.sign_in import SignedIn, SignInMethod
from postbus.core.errors import ErrorKind, MailError
from postbus.testing.directory import KEYS
from postbus.testing.directory_office import ADMIN, Office, refused
from postbus.testing.directory_office_access import stands
from postbus.testing.directory_office_app_passwords import KIM, Door
from postbus.testing.directory_office_contract import events_of
from postbus.testing.directory_office_roles import ANN, put_site
from postbus.testing.identity_provider import CLIENT_ID, CLIENT_SECRET, HOUR, ISSUER, PROVIDER, REDIRECT
from postbusd.directory.oidc.relying_party import KEYS_SECONDS, REFETCH_SECONDS, SIGN_IN_SECONDS
from postbusd.directory.throttle import FREE_FAILURES
from postbusd.directory.token_login import REMEMBERED_SECONDS, TokenLogin

NETWORK = "192.0.2.1"


async def put_provider(
    office: Office, provider: IdentityProvider | None = PROVIDER, secret: str | None = CLIENT_SECRET, actor: str = ADMIN
) -> IdentityProvider | None:
    """The identity provider."""
    request = PutIdentityProviderRequest(actor=actor, provider=provider, client_secret=secret)
    return (await office.administration.put_identity_provider(request)).provider


async def get_provider(office: Office, actor: str = ADMIN) -> IdentityProvider | None:
    """As it is shown."""
    return (await office.administration.get_identity_provider(GetIdentityProviderRequest(actor=actor))).provider


async def begin(office: Office, redirect_uri: str = REDIRECT) -> tuple[str, str]:
    """URL and state."""
    begun = await office.administration.begin_provider_sign_in(BeginProviderSignInRequest(redirect_uri=redirect_uri))
    return begun.authorization_url, begun.state


async def finish(office: Office, code: str, state: str) -> SignedIn:
    """Raises MailError."""
    return await office.administration.finish_provider_sign_in(FinishProviderSignInRequest(code=code, state=state))


async def sign_in(office: Office, **claims: Any) -> SignedIn:
    """A person goes there and comes back."""
    url, _ = await begin(office)
    return await finish(office, *office.provider.sign_in(url, **{"preferred_username": KIM, **claims}))


class Gate:
    """Where mail programs show tokens."""

    def __init__(self, office: Office) -> None:
        party = office.provider.party(office.repository)
        self.clock = office.clock
        self.login = TokenLogin(office.repository, party, KEYS, office.clock, CollectorRegistry())
        self.stands = Door(office).stands

    async def enter(
        self, token: str, mailbox: str = "", access: Access = Access.IMAP, network: str = NETWORK
    ) -> AuthenticateReply:
        """Raises MailError."""
        return await self.login.authenticate_token(
            AuthenticateTokenRequest(token=token, mailbox=mailbox, access=access, client_address=network)
        )

    async def refusal(self, token: str, mailbox: str = "") -> str:
        """Why not."""
        with pytest.raises(MailError) as caught:
            await self.enter(token, mailbox)
        assert caught.value.kind is ErrorKind.UNAUTHENTICATED, caught.value
        return caught.value.detail


class IdentityProviderContract:
    """The IdentityProviderAdmin and the ProviderSignIn."""

    async def test_it_is_set_shown_and_removed_by_superadmins(self, office: Office) -> None:
        """put, get; the secret is never shown, and stays with the same client."""
        await put_site(office)
        assert await get_provider(office) is None
        shown = await put_provider(office)
        assert shown == msgspec.structs.replace(
            PROVIDER, has_secret=True, redirect_uris=tuple(sorted(PROVIDER.redirect_uris))
        )
        before = await office.trace()
        assert await put_provider(office, secret=None) == shown == await get_provider(office)
        assert await office.trace() == before
        other = msgspec.structs.replace(PROVIDER, client_id="other")
        changed = await put_provider(office, other, None)
        assert changed is not None
        assert not changed.has_secret
        for actor in (ANN, "pat@a.test"):
            with refused(ErrorKind.FORBIDDEN, ""):
                await put_provider(office, actor=actor)
            with refused(ErrorKind.FORBIDDEN, ""):
                await get_provider(office, actor)
        stale = PutIdentityProviderRequest(actor=ADMIN, provider=PROVIDER, condition=Condition(if_match=("stale",)))
        with refused(ErrorKind.CHANGED, "if_match"):
            await office.administration.put_identity_provider(stale)
        plan = PutIdentityProviderRequest(actor=ADMIN, provider=None, condition=Condition(plan=True))
        assert (await office.administration.put_identity_provider(plan)).provider is None
        assert await get_provider(office) is not None
        assert await put_provider(office, None) is None
        assert await get_provider(office) is None
        told = await events_of(office)
        assert CLIENT_SECRET not in repr(told)
        assert [each.summary for each in told][-1] == f"identity provider removed by {ADMIN}"

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("issuer", "http://id.example.org"),
            ("issuer", "id.example.org"),
            ("issuer", "https://id.example.org/?x"),
            ("issuer", "https://id.example.org:x"),
            ("client_id", ""),
            ("username_claim", "a\nb"),
            ("scopes", ("profile",)),
            ("scopes", ("openid", "a b")),
            ("audiences", ("",)),
            ("audiences", tuple(map(str, range(51)))),
            ("redirect_uris", ("http://mail.example.org/",)),
            ("redirect_uris", ("https://mail.example.org/#x",)),
            ("redirect_uris", ("javascript:x",)),
        ],
    )
    async def test_settings_that_can_not_be(self, office: Office, field: str, value: object) -> None:
        """INVALID, naming the field."""
        with refused(ErrorKind.INVALID, field):
            await put_provider(office, msgspec.structs.replace(PROVIDER, **{field: value}))

    async def test_a_user_signs_in(self, office: Office) -> None:
        """begin, finish; the session ends with user and provider, a second factor is the provider's."""
        await put_site(office)
        await put_provider(office)
        url, _ = await begin(office)
        assert url.startswith(f"{ISSUER}/auth?")
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
        assert (query["client_id"], query["redirect_uri"], query["scope"]) == (CLIENT_ID, REDIRECT, "openid profile")
        session = await sign_in(office, preferred_username=KIM.upper())
        assert (session.username, session.method) == (KIM, SignInMethod.IDENTITY_PROVIDER)
        assert await stands(office, session)
        await put_provider(office, msgspec.structs.replace(PROVIDER, issuer="https://other.example.org"))
        assert not await stands(office, session)
        await put_provider(office)
        assert await stands(office, session)
        await office.put_user(KIM, active=False)
        assert not await stands(office, session)
        with refused(ErrorKind.FORBIDDEN, "there is no active user"):
            await sign_in(office)
        for claimed in ("nobody", "a b", "\0"):
            with refused(ErrorKind.FORBIDDEN, "there is no active user"):
                await sign_in(office, preferred_username=claimed)

    async def test_what_comes_back_must_be_of_this_sign_in(self, office: Office) -> None:
        """State, code, nonce, audience, issuer, time."""
        await put_site(office)
        with refused(ErrorKind.NOT_FOUND, "there is no identity provider"):
            await begin(office)
        await put_provider(office)
        for uri in ("https://evil.example/", REDIRECT + "x", "http://127.0.0.1:x/callback", "http://127.0.0.1:1/other"):
            with refused(ErrorKind.FORBIDDEN, "redirect_uri"):
                await begin(office, uri)
        await begin(office, "http://127.0.0.1:49152/callback")
        url, state = await begin(office)
        code, _ = office.provider.sign_in(url, preferred_username=KIM)
        for wrong in ("", "x", state[:-4], "x" * 5000):
            with refused(ErrorKind.UNAUTHENTICATED, "state"):
                await finish(office, code, wrong)
        with refused(ErrorKind.UNAUTHENTICATED, "code: the identity provider refused it: invalid_grant"):
            await finish(office, "unknown", state)
        with refused(ErrorKind.UNAUTHENTICATED, "code"):
            await finish(office, "", state)
        await finish(office, code, state)
        with refused(ErrorKind.UNAUTHENTICATED, "code"):
            await finish(office, code, state)
        office.clock.advance(SIGN_IN_SECONDS)
        with refused(ErrorKind.UNAUTHENTICATED, "state: is over"):
            await finish(office, code, state)
        now = office.clock.now_ms() // 1000
        for claims, reason in (
            ({"nonce": "other"}, "is of another sign-in"),
            ({"nonce": None}, "is of another sign-in"),
            ({"aud": "other"}, "is for another audience"),
            ({"aud": [CLIENT_ID, "other"], "azp": "other"}, "is for another audience"),
            ({"iss": "https://evil.example"}, "is of another issuer"),
            ({"exp": now - 61}, "has expired"),
            ({"exp": None}, "says no time"),
            ({"nbf": now + 61}, "is not valid yet"),
            ({"preferred_username": None}, "the identity provider does not take it"),
        ):
            with refused(ErrorKind.UNAUTHENTICATED, f"token: {reason}"):
                await sign_in(office, **claims)
        office.provider.answers = [(200, {"access_token": "x"})]
        with refused(ErrorKind.UNAUTHENTICATED, "code"):
            await sign_in(office)

    async def test_the_user_information_may_name_the_user(self, office: Office) -> None:
        """When the ID token does not; of the same person only, and by an address that was verified."""
        await put_site(office)
        await put_provider(office, msgspec.structs.replace(PROVIDER, username_claim="email"))
        office.provider.users["opaque"] = {"sub": "1", "email": KIM, "email_verified": True}
        assert (await sign_in(office, preferred_username=None)).username == KIM
        office.provider.users["opaque"] = {"sub": "2", "email": KIM}
        with refused(ErrorKind.UNAUTHENTICATED, "token: the user information is of somebody else"):
            await sign_in(office)
        office.provider.users["opaque"] = {"sub": "1", "email": KIM, "email_verified": False}
        with refused(ErrorKind.UNAUTHENTICATED, "token: its email is not verified"):
            await sign_in(office)

    async def test_a_client_without_a_secret_and_one_that_posts_it(self, office: Office) -> None:
        """RFC 6749 §2.3.1."""
        await put_site(office)
        await put_provider(office, secret="")
        with refused(ErrorKind.UNAUTHENTICATED, "code: the identity provider refused it: invalid_client"):
            await sign_in(office)
        office.provider.changes = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
        office.clock.advance(HOUR)
        await put_provider(office)
        assert (await sign_in(office)).username == KIM


class TokenLoginContract:
    """The TokenAuthenticator."""

    async def test_a_token_opens_the_mailboxes_of_its_user(self, office: Office) -> None:
        """Own ones, those of groups, no others; XOAUTH2 names one, OAUTHBEARER may leave it out."""
        await put_site(office)
        await office.put_mailbox("box@a.test", None, owner=Owner(kind=OwnerKind.GROUP, name="staff-a"))
        await put_provider(office)
        gate = Gate(office)
        token = office.provider.sign(preferred_username=KIM)
        login = await gate.enter(token)
        assert (login.address, login.member) == (KIM, KIM)
        assert (await gate.enter(token, "Box@A.test")).address == "box@a.test"
        assert await gate.stands(login)
        for other in ("kim@b.test", "nobody@a.test", "info@a.test", "no address"):
            assert await gate.refusal(token, other) == "this user may not open this mailbox"
        facts = await gate.login.find_provider(Empty())
        assert facts.configuration_url == f"{ISSUER}/.well-known/openid-configuration"
        with refused(ErrorKind.INACTIVE, "POP3"):
            await gate.enter(token, access=Access.POP3)
        await office.put_group("staff-a", address="staff@a.test")
        assert await gate.refusal(token, "box@a.test") == "this user may not open this mailbox"
        await office.put_user(KIM, active=False)
        assert not await gate.stands(login)
        with refused(ErrorKind.INACTIVE, "this mailbox"):
            await gate.enter(token)

    async def test_sessions_end_with_the_provider(self, office: Office) -> None:
        """And nobody logs in by it any more."""
        await put_site(office)
        await put_provider(office)
        gate, token = Gate(office), office.provider.sign(preferred_username=KIM)
        login = await gate.enter(token)
        await put_provider(office, None)
        assert not await gate.stands(login)
        assert await gate.refusal(token) == "there is no identity provider"
        assert (await gate.login.find_provider(Empty())).configuration_url == ""

    async def test_a_token_must_be_signed_by_the_provider_for_us_and_now(self, office: Office) -> None:
        """Expired, another audience or issuer, other keys, no signature, ID tokens."""
        await put_site(office)
        await put_provider(office)
        gate, sign, now = Gate(office), office.provider.sign, office.clock.now_ms() // 1000
        claims = {"iss": ISSUER, "aud": "mail", "exp": now + HOUR, "preferred_username": KIM}
        stolen = jwt.encode(claims, "x" * 32, "HS256", {"kid": office.provider.kid})
        unsigned = jwt.encode(claims, "", "none")
        tampered = sign(preferred_username="pat@a.test").split(".")
        tampered[1] = sign(preferred_username=KIM).split(".")[1]
        for token, reason in (
            (sign(preferred_username=KIM, exp=now - 60), "has expired"),
            (sign(preferred_username=KIM, exp="soon"), "says no time"),
            (sign(preferred_username=KIM, aud="other"), "is for another audience"),
            (sign(preferred_username=KIM, aud=None), "is for another audience"),
            (sign(preferred_username=KIM, iss="https://evil.example"), "is of another issuer"),
            (sign(preferred_username=KIM, aud=CLIENT_ID, nonce="x"), "is an ID token"),
            (sign(preferred_username=KIM, kid="other"), "is signed by none of the provider's keys"),
            (sign(), "the identity provider does not take it"),
            (stolen, "is not signed, or not by a key that only its issuer has"),
            (unsigned, "is not signed, or not by a key that only its issuer has"),
            (".".join(tampered), "is signed by none of the provider's keys"),
            ("", "is malformed"),
            ("\u00e4", "is malformed"),
            ("x" * 20_000, "is malformed"),
        ):
            assert await Gate(office).refusal(token) == f"token: {reason}", reason
        assert await gate.refusal(sign(preferred_username="no user")) == "this user may not open this mailbox"
        for issued in ({"aud": None, "azp": "mail"}, {"aud": ["x", "mail"]}, {"client_id": CLIENT_ID, "aud": None}):
            assert (await gate.enter(sign(preferred_username=KIM, **issued))).address == KIM

    async def test_a_key_that_changes_is_fetched_and_the_old_one_ends(self, office: Office) -> None:
        """Once for many unknown ones."""
        await put_site(office)
        await put_provider(office)
        gate = Gate(office)
        old = office.provider.sign(preferred_username=KIM)
        await gate.enter(office.provider.sign(preferred_username=KIM, jti="1"))
        office.provider.rotate(with_rsa=True)
        await gate.enter(office.provider.sign(preferred_username=KIM))
        assert office.provider.calls.count("/keys") == 2
        assert await gate.refusal(old) == "token: is signed by none of the provider's keys"
        assert (
            await gate.refusal(office.provider.sign(kid="another")) == "token: is signed by none of the provider's keys"
        )
        assert office.provider.calls.count("/keys") == 2
        office.clock.advance(REFETCH_SECONDS)
        await gate.refusal(office.provider.sign(kid="another"))
        assert office.provider.calls.count("/keys") == 3
        office.clock.advance(KEYS_SECONDS)
        await gate.enter(office.provider.sign(preferred_username=KIM), network="192.0.2.9")
        assert office.provider.calls.count("/keys") == 4

    async def test_an_opaque_token_is_asked_about(self, office: Office) -> None:
        """RFC 7662: active, for us, in its time; remembered while it holds."""
        await put_site(office)
        await put_provider(office)
        gate, opaque, now = Gate(office), office.provider.opaque, office.clock.now_ms() // 1000
        good: dict[str, Any] = {"active": True, "client_id": "mail", "preferred_username": KIM, "exp": now + 100}
        opaque["good"] = good
        for name, changes, reason in (
            ("over", {"active": False}, "is not active"),
            ("text", {"active": "true"}, "is not active"),
            ("late", {"exp": now - 60}, "has expired"),
            ("other", {"client_id": "other"}, "is for another audience"),
            ("issuer", {"iss": "https://evil.example"}, "is of another issuer"),
        ):
            opaque[name] = {**good, **changes}
            assert await Gate(office).refusal(name) == f"token: {reason}"
        assert await Gate(office).refusal("unknown") == "token: is not active"
        await gate.enter("good")
        asked = office.provider.calls.count("/introspect")
        opaque["good"] = {"active": False}
        await gate.enter("good")
        assert office.provider.calls.count("/introspect") == asked
        office.clock.advance(100)
        assert await gate.refusal("good") == "token: is not active"
        office.provider.changes = {"introspection_endpoint": None}
        office.clock.advance(HOUR)
        assert await gate.refusal("x") == "token: is not signed, and the identity provider has no introspection"

    async def test_a_provider_that_is_away_is_no_wrong_token(self, office: Office) -> None:
        """UNAVAILABLE, asked again after a while; what is remembered works."""
        await put_site(office)
        await put_provider(office)
        gate, token = Gate(office), office.provider.sign(preferred_username=KIM)
        office.provider.away = True
        for _ in range(3):
            with refused(ErrorKind.UNAVAILABLE, "identity provider"):
                await gate.enter(token)
        assert len(office.provider.calls) == 1
        office.provider.away = False
        office.clock.advance(REFETCH_SECONDS)
        await gate.enter(token)
        office.provider.away = True
        await gate.enter(token)
        office.clock.advance(REMEMBERED_SECONDS)
        await gate.enter(token)
        office.provider.changes = {"issuer": "https://evil.example"}
        office.provider.away = False
        with refused(ErrorKind.UNAVAILABLE, "identity provider: its configuration is of another issuer"):
            await Gate(office).enter(token)

    async def test_guesses_are_slowed_down_by_their_network(self, office: Office) -> None:
        """RATE_LIMITED; others get in."""
        await put_site(office)
        await put_provider(office)
        gate, token = Gate(office), office.provider.sign(preferred_username=KIM)
        for number in range(FREE_FAILURES + 1):
            await gate.refusal(f"guess{number}")
        with refused(ErrorKind.RATE_LIMITED, "too many"):
            await gate.enter(token)
        await gate.enter(token, network="192.0.2.2")
