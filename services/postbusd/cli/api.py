"""A small client of the administrator's API for the command line: HTTPS, our own CA, one line of error for people.

Connections are kept and used again, one for each thread. A kept connection that the server has closed meanwhile is
opened anew without a word: a POST has a key (Idempotency-Key) by which the server knows it when it comes twice; one
without never goes over a kept connection.
"""

import contextlib
import http.client
import re
import ssl
import threading
import urllib.parse
import uuid
from typing import Any, Protocol

import msgspec

from postbus.runtime.layout import StartError

ROOT = "/api/v1"
TIMEOUT_SECONDS = 60.0
MAX_ANSWER_OCTETS = 16 * 1024 * 1024
CA_PATH = f"{ROOT}/ca.pem"
KEY = "Idempotency-Key"
JSON = "application/json"
NOT_FOUND = 404
UNAVAILABLE = 503
_MISSING_DOMAIN = re.compile(r"(?:address|domain): there is no domain (\S+) here\Z")
_UNCHANGED_IN_PATHS = "@+*"  # a path's segment may hold them; the rest is encoded


class Problem(msgspec.Struct):
    """problem+json (RFC 9457 §3.1)."""

    title: str = ""
    detail: str = ""
    code: str = ""
    field: str | None = None


class ApiError(StartError):
    """The API refused."""

    def __init__(self, status: int, answer: bytes) -> None:
        super().__init__(_complaint(status, answer))
        self.status = status
        self.field = _field(answer)
        """The member of the body that is to blame; empty: none, or it is not told."""


class Wire(Protocol):
    """How requests travel."""

    def exchange(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
        """Status and body of the answer. Raises StartError when there is none."""
        ...


class HttpsWire:
    """One kept connection for each thread."""

    def __init__(self, url: str, ca_file: str, seconds: float = TIMEOUT_SECONDS, ca_pem: str = "") -> None:
        """Trusts the certificates of `ca_file` or `ca_pem`; both empty: the system's. Raises StartError."""
        self._url = _reachable(url)
        self._seconds = seconds
        try:
            self._context = _trusting(ca_file, ca_pem)
        except (OSError, ssl.SSLError) as error:
            raise StartError(f"{ca_file}: {error.strerror or error}") from error
        self._kept = threading.local()

    def exchange(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
        """Status and body of the answer; a kept connection that has gone is replaced once."""
        connection: http.client.HTTPSConnection | None = getattr(self._kept, "connection", None)
        if connection is not None and (method != "POST" or KEY in headers):
            with contextlib.suppress(OSError, http.client.HTTPException):
                return _ask(connection, method, path, headers, body)
        if connection is not None:
            connection.close()
        self._kept.connection = connection = _connect(self._url, self._context, self._seconds)
        try:
            return _ask(connection, method, path, headers, body)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._kept.connection = None
            raise _unreachable(self._url, error) from error


class ApiClient:
    """Requests to one installation's API. Every method raises StartError with one clear line, ApiError for refusals."""

    def __init__(self, wire: Wire, token: str) -> None:
        self._wire = wire
        self._token = token

    def get(self, path: str, query: dict[str, str] | None = None) -> Any:  # Any: JSON, read by the caller
        """The answer of a GET."""
        return _decode(self._request("GET", _with_query(path, query), None))

    def get_text(self, path: str) -> str:
        """The answer of a GET that is plain text."""
        return self._request("GET", path, None).decode("utf-8", "replace")

    def get_octets(self, path: str, query: dict[str, str]) -> bytes:
        """The answer of a GET as it came."""
        return self._request("GET", _with_query(path, query), None)

    def put(self, path: str, body: dict[str, object]) -> Any:  # Any: JSON, read by the caller
        """The answer of a PUT."""
        return _decode(self._request("PUT", path, msgspec.json.encode(body)))

    def patch(self, path: str, body: dict[str, object]) -> Any:  # Any: JSON, read by the caller
        """The answer of a PATCH, a JSON merge patch (RFC 7396)."""
        return _decode(self._request("PATCH", path, msgspec.json.encode(body)))

    def post(self, path: str, body: dict[str, object] | None = None) -> Any:  # Any: JSON, read by the caller
        """The answer of a POST."""
        key = str(uuid.uuid4()) if self._token else ""
        return _decode(self._request("POST", path, None if body is None else msgspec.json.encode(body), key=key))

    def post_octets(self, path: str, media_type: str, octets: bytes) -> Any:  # Any: JSON, read by the caller
        """The answer of a POST of something that is no JSON object."""
        return _decode(self._request("POST", path, octets, media_type))

    def delete(self, path: str, query: dict[str, str] | None = None) -> Any:  # Any: JSON, read by the caller
        """The answer of a DELETE."""
        return _decode(self._request("DELETE", _with_query(path, query), None))

    def _request(self, method: str, path: str, body: bytes | None, media_type: str = JSON, key: str = "") -> bytes:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if key:
            headers[KEY] = key
        if body is not None:
            headers["Content-Type"] = media_type
        status, answer = self._wire.exchange(method, path, headers, body)
        if status >= 300:
            raise ApiError(status, answer)
        return answer


def connect_api(url: str, token: str, ca_file: str, seconds: float = TIMEOUT_SECONDS) -> ApiClient:
    """A client of the API at `url`, which waits so long for an answer. Raises StartError."""
    return ApiClient(HttpsWire(url, ca_file, seconds), token)


def path_of(plural: str, name: str = "", *below: str) -> str:
    """`/api/v1/<plural>/<name>/…` with names encoded."""
    segments = [plural, *([urllib.parse.quote(name, safe=_UNCHANGED_IN_PATHS)] if name else []), *below]
    return "/".join([ROOT, *segments])


def fetch_ca(url: str) -> bytes:
    """The CA's certificate, PEM: what trust begins with, so nothing can be verified yet and nothing secret is sent.

    Only for our own API on this machine, whose port the supervisor knows to be its child's.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    where = _reachable(url)
    connection = _connect(where, context, TIMEOUT_SECONDS)
    try:
        status, answer = _ask(connection, "GET", CA_PATH, {}, None)
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(where, error) from error
    finally:
        connection.close()
    if status != http.client.OK or b"BEGIN CERTIFICATE" not in answer:
        raise StartError(f"the API does not give the CA's certificate: {_complaint(status, answer)}")
    return answer


def _reachable(url: str) -> urllib.parse.SplitResult:
    """The URL with the loopback address in the place of "any address": certificates name the former."""
    parts = urllib.parse.urlsplit(url)
    if not parts.hostname:
        raise StartError("the API is off (POSTBUS_ADMIN_API_LISTEN is empty)")
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(parts.hostname)  # noqa: S104 (compared, not bound)
    return parts._replace(netloc=f"{host}:{parts.port}") if host else parts


def _trusting(ca_file: str, ca_pem: str) -> ssl.SSLContext:
    if ca_pem and not ca_file:
        return ssl.create_default_context(cadata=ca_pem)
    return ssl.create_default_context(cafile=ca_file or None)


def _connect(url: urllib.parse.SplitResult, context: ssl.SSLContext, seconds: float) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection(url.hostname or "", url.port, timeout=seconds, context=context)


def _ask(
    connection: http.client.HTTPSConnection, method: str, path: str, headers: dict[str, str], body: bytes | None
) -> tuple[int, bytes]:
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    answer = response.read(MAX_ANSWER_OCTETS)
    if not response.isclosed():
        raise http.client.HTTPException(f"the answer is larger than {MAX_ANSWER_OCTETS} octets")
    return response.status, answer


def _unreachable(url: urllib.parse.SplitResult, error: Exception) -> StartError:
    return StartError(f"{urllib.parse.urlunsplit(url)} can't be reached: {error}")


def _with_query(path: str, query: dict[str, str] | None) -> str:
    return f"{path}?{urllib.parse.urlencode(query)}" if query else path


def _decode(answer: bytes) -> Any:
    try:
        return msgspec.json.decode(answer) if answer else None
    except msgspec.DecodeError as error:
        raise StartError(f"the API's answer is not JSON: {error}") from error


def _field(answer: bytes) -> str:
    try:
        return msgspec.json.decode(answer, type=Problem).field or ""
    except msgspec.DecodeError:
        return ""


def _complaint(status: int, answer: bytes) -> str:
    try:
        problem = msgspec.json.decode(answer, type=Problem)
    except msgspec.DecodeError:
        return f"HTTP {status}"
    complaint = problem.detail or problem.title or f"HTTP {status}"
    missing = _MISSING_DOMAIN.match(complaint)
    if missing is not None:
        return f"{complaint}; first: postbus domain add {missing[1]}"
    return f"{complaint} (which part is ill: postbus status)" if status == UNAVAILABLE else complaint
