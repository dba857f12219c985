"""Requests to an identity provider: JSON over HTTPS."""

import base64
import urllib.parse
from collections.abc import Mapping, Sequence

import msgspec

from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.http_client import FAULTS, HttpAnswer, HttpClient, explain
from postbusd.directory.oidc.ports import Claims

OK = 200
UNAUTHORIZED = 401


class ProviderHttp:
    """The Transport over the network."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def get(self, url: str, bearer: str = "") -> Claims:
        """A document."""
        headers = [("Accept", "application/json"), *([("Authorization", f"Bearer {bearer}")] if bearer else [])]
        answer = await self._ask("GET", url, headers, b"")
        if bearer and answer.status == UNAUTHORIZED:
            raise MailError(ErrorKind.UNAUTHENTICATED, "token: the identity provider does not take it")
        if answer.status != OK:
            raise _unavailable(url, f"HTTP {answer.status}")
        return _decode(url, answer)

    async def post(self, url: str, form: Mapping[str, str], basic: tuple[str, str] | None) -> tuple[int, Claims]:
        """Status and answer of a form."""
        headers = [("Accept", "application/json"), ("Content-Type", "application/x-www-form-urlencoded")]
        if basic is not None:
            pair = ":".join(urllib.parse.quote_plus(each) for each in basic)
            headers.append(("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
        answer = await self._ask("POST", url, headers, urllib.parse.urlencode(form).encode())
        if answer.status >= 500:
            raise _unavailable(url, f"HTTP {answer.status}")
        return answer.status, _decode(url, answer)

    async def _ask(self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes) -> HttpAnswer:
        try:
            parts = urllib.parse.urlsplit(url)
            if parts.scheme not in ("https", "http") or not parts.hostname:
                raise _unavailable(url, "is no https URL")
            return await self._client.request(method, parts, headers, body)
        except MailError as error:
            raise _unavailable(url, error.detail) from error
        except (*FAULTS, ValueError) as error:
            raise _unavailable(url, explain(error)) from error


def _decode(url: str, answer: HttpAnswer) -> Claims:
    try:
        return msgspec.json.decode(answer.body, type=Claims)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unavailable(url, "the answer is no JSON object") from error


def _unavailable(url: str, reason: str) -> MailError:
    where = url.partition("?")[0][:200]
    return MailError(ErrorKind.UNAVAILABLE, f"identity provider: {where}: {reason}")
