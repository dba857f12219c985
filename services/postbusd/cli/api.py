"""A small client of the administrator's API for the command line: HTTPS, our own CA, one line of error for people."""

import http.client
import ssl
import urllib.parse
from typing import Any

import msgspec

from postbus.runtime.layout import StartError

TIMEOUT_SECONDS = 30.0
MAX_ANSWER_OCTETS = 16 * 1024 * 1024
CA_PATH = "/api/v1/ca.pem"


class Problem(msgspec.Struct):
    """problem+json (RFC 9457 §3.1)."""

    title: str = ""
    detail: str = ""


class ApiClient:
    """Requests to one installation's API. Every method raises StartError with one clear line."""

    def __init__(self, url: str, token: str, ca_file: str) -> None:
        self._url = _reachable(url)
        self._token = token
        try:
            self._context = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise StartError(f"{ca_file}: {error.strerror or error}") from error

    def get(self, path: str, query: dict[str, str] | None = None) -> Any:  # Any: JSON, read by the caller
        """The answer of a GET."""
        suffix = f"?{urllib.parse.urlencode(query)}" if query else ""
        return self._request("GET", path + suffix, None)

    def put(self, path: str, body: dict[str, object]) -> Any:  # Any: JSON, read by the caller
        """The answer of a PUT."""
        return self._request("PUT", path, msgspec.json.encode(body))

    def _request(self, method: str, path: str, body: bytes | None) -> Any:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        status, answer = _exchange(self._url, self._context, method, path, headers, body)
        if status >= 300:
            raise StartError(_complaint(status, answer))
        try:
            return msgspec.json.decode(answer) if answer else None
        except msgspec.DecodeError as error:
            raise StartError(f"the API's answer is not JSON: {error}") from error


def fetch_ca(url: str) -> bytes:
    """The CA's certificate, PEM: what trust begins with, so nothing can be verified yet and nothing secret is sent.

    Only for our own API on this machine, whose port the supervisor knows to be its child's.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    status, answer = _exchange(_reachable(url), context, "GET", CA_PATH, {}, None)
    if status != http.client.OK or b"BEGIN CERTIFICATE" not in answer:
        raise StartError(f"the API does not give the CA's certificate: {_complaint(status, answer)}")
    return answer


def _reachable(url: str) -> urllib.parse.SplitResult:
    """The URL with the loopback address in the place of "any address": certificates name the former."""
    parts = urllib.parse.urlsplit(url)
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(parts.hostname or "")  # noqa: S104 (compared, not bound)
    return parts._replace(netloc=f"{host}:{parts.port}") if host else parts


def _exchange(
    url: urllib.parse.SplitResult,
    context: ssl.SSLContext,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes | None,
) -> tuple[int, bytes]:
    connection = http.client.HTTPSConnection(url.hostname or "", url.port, timeout=TIMEOUT_SECONDS, context=context)
    try:
        connection.request(method, urllib.parse.quote(path, safe="/?&=%@+"), body, headers)
        response = connection.getresponse()
        return response.status, response.read(MAX_ANSWER_OCTETS)
    except (OSError, http.client.HTTPException) as error:
        raise StartError(f"{urllib.parse.urlunsplit(url)} can't be reached: {error}") from error
    finally:
        connection.close()


def _complaint(status: int, answer: bytes) -> str:
    try:
        problem = msgspec.json.decode(answer, type=Problem)
    except msgspec.DecodeError:
        return f"HTTP {status}"
    return problem.detail or problem.title or f"HTTP {status}"
