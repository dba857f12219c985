"""Signing in by a browser: the identity provider sends it back to a listener on a loopback address (RFC 8252 §7.3)."""

import http.server
import secrets
import time
import urllib.parse
import webbrowser
from collections.abc import Callable
from typing import Any

from postbus.runtime.layout import StartError
from postbusd.cli.api import ApiClient, path_of

CALLBACK = "/callback"
WAIT_SECONDS = 600.0


class _Listener(http.server.HTTPServer):
    """Takes the one request that matters."""

    found: dict[str, str] | None = None


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        known = parts.path == CALLBACK
        if known and isinstance(self.server, _Listener):
            self.server.found = dict(urllib.parse.parse_qsl(parts.query))
        body = b"Done: you may close this page.\n" if known else b"Not here.\n"
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
        pass


def sign_in_by_browser(
    api: ApiClient, say: Callable[[str], None], wait_seconds: float = WAIT_SECONDS, *, opens: bool = True
) -> Any:
    """The session that was begun. Raises StartError."""
    with _Listener(("127.0.0.1", 0), _Handler) as listener:
        redirect = f"http://127.0.0.1:{listener.server_port}{CALLBACK}"
        begun = api.post(path_of("session", "provider"), {"redirect_uri": redirect})
        say(f"Open this in a browser on this machine:\n{begun['authorization_url']}")
        if opens:
            webbrowser.open(begun["authorization_url"])
        found = _wait(listener, wait_seconds)
    if not secrets.compare_digest(found.get("state", "").encode(), begun["state"].encode()):
        raise StartError("what came back belongs to another sign-in")
    if "code" not in found:
        reason = found.get("error_description") or found.get("error", "no code")
        raise StartError(f"the identity provider refused: {reason}")
    return api.post(path_of("session", "provider", "code"), {"state": found["state"], "code": found["code"]})


def _wait(listener: _Listener, seconds: float) -> dict[str, str]:
    end = time.monotonic() + seconds
    while listener.found is None:
        listener.timeout = end - time.monotonic()
        if listener.timeout <= 0:
            raise StartError("nobody came back from the identity provider")
        listener.handle_request()
    return listener.found
