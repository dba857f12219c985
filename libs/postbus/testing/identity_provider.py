"""An identity provider in memory: the Transport, with keys that change, codes, users and tokens of every kind."""

import secrets
import urllib.parse
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from postbus.contracts.identity_provider import IdentityProvider
from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.sealing import Sealer
from postbusd.directory.oidc.ports import Claims, ProviderReader
from postbusd.directory.oidc.relying_party import RelyingParty, challenge_of

ISSUER = "https://id.example.org/realm"
CLIENT_ID = "postbus"
CLIENT_SECRET = "s3cret"  # noqa: S105  for tests
REDIRECT = "https://mail.example.org/callback"
PROVIDER = IdentityProvider(
    issuer=ISSUER,
    client_id=CLIENT_ID,
    redirect_uris=(REDIRECT, "http://127.0.0.1/callback"),
    audiences=("mail",),
)
HOUR = 3600


class MemoryProvider:
    """The Transport; `away` makes it UNAVAILABLE, `calls` are the URLs that were asked."""

    def __init__(self, clock: Clock) -> None:
        self.away = False
        self.calls: list[str] = []
        self.opaque: dict[str, Claims] = {}
        """Tokens that only introspection knows."""
        self.users: dict[str, Claims] = {}
        """User information by access token."""
        self.changes: Claims = {}
        """To the configuration."""
        self.answers: list[tuple[int, Claims]] = []
        """Of the token endpoint, instead of its own."""
        self._clock = clock
        self._codes: dict[str, tuple[dict[str, str], Claims]] = {}
        self._keys: dict[str, Any] = {}
        self.kid = ""
        self.rotate()

    def rotate(self, *, with_rsa: bool = False) -> str:
        """A new key in place of the one before; its `kid`."""
        self.kid = secrets.token_hex(4)
        key = rsa.generate_private_key(65537, 2048) if with_rsa else ec.generate_private_key(ec.SECP256R1())
        self._keys = {self.kid: key}
        return self.kid

    def sign(self, *, kid: str | None = None, algorithm: str = "", **claims: Any) -> str:
        """A token of now for an hour; `claims` change or add some, None takes one away."""
        now = self._clock.now_ms() // 1000
        whole = {"iss": ISSUER, "aud": "mail", "iat": now, "exp": now + HOUR, "sub": "1", **claims}
        key = self._keys[self.kid]
        algorithm = algorithm or ("RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256")
        headers = {"kid": self.kid if kid is None else kid}
        return jwt.encode({n: v for n, v in whole.items() if v is not None}, key, algorithm, headers)

    def sign_in(self, authorization_url: str, **claims: Any) -> tuple[str, str]:
        """A person signs in there: the code and the state that come back."""
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(authorization_url).query))
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(8)
        self._codes[code] = (query, {"aud": query["client_id"], "nonce": query["nonce"], **claims})
        return code, query["state"]

    async def get(self, url: str, bearer: str = "") -> Claims:
        """A document."""
        self._touch(url)
        match url.removeprefix(ISSUER):
            case "/.well-known/openid-configuration":
                return {
                    "issuer": ISSUER,
                    "authorization_endpoint": f"{ISSUER}/auth",
                    "token_endpoint": f"{ISSUER}/token",
                    "jwks_uri": f"{ISSUER}/keys",
                    "introspection_endpoint": f"{ISSUER}/introspect",
                    "userinfo_endpoint": f"{ISSUER}/me",
                    **self.changes,
                }
            case "/keys":
                return {"keys": [{"kty": "oct", "k": "AAAA"}, {"kty": "strange"}, *map(self._jwk, self._keys)]}
            case "/me":
                if bearer not in self.users:
                    raise MailError(ErrorKind.UNAUTHENTICATED, "token: the identity provider does not take it")
                return self.users[bearer]
        raise MailError(ErrorKind.UNAVAILABLE, "identity provider: HTTP 404")

    async def post(self, url: str, form: Mapping[str, str], basic: tuple[str, str] | None) -> tuple[int, Claims]:
        """The token endpoint and introspection."""
        self._touch(url)
        own = (form.get("client_id"), form.get("client_secret"))
        if (basic or own) != (CLIENT_ID, CLIENT_SECRET):
            return 401, {"error": "invalid_client"}
        if url == f"{ISSUER}/introspect":
            return 200, self.opaque.get(form["token"], {"active": False})
        if self.answers:
            return self.answers.pop()
        query, claims = self._codes.pop(form["code"], ({}, {}))
        proven = challenge_of(form["code_verifier"]) == query.get("code_challenge")
        if not proven or form["redirect_uri"] != query["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        return 200, {"access_token": "opaque", "token_type": "Bearer", "id_token": self.sign(**claims)}

    def party(self, reader: ProviderReader) -> RelyingParty:
        """A client of this provider."""
        return RelyingParty(reader, self, Sealer(bytes(32)), self._clock)

    def _jwk(self, kid: str) -> Claims:
        key = self._keys[kid]
        kind = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
        public: Claims = kind.to_jwk(key.public_key(), as_dict=True)
        return {**public, "kid": kid, "use": "sig"}

    def _touch(self, url: str) -> None:
        self.calls.append(url.removeprefix(ISSUER))
        if self.away:
            raise MailError(ErrorKind.UNAVAILABLE, "identity provider: away")
