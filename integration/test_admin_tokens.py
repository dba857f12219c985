"""API tokens of a running installation: scopes, their end, the host's own token."""

import http.client
import json
import urllib.parse
from pathlib import Path
from typing import Any

from postbus.runtime.layout import layout_of
from postbus.testing.installation import Platform, postbus


def ask(platform: Platform, method: str, path: str, body: object = None, *, token: str = "") -> tuple[int, Any]:
    """Status and decoded answer."""
    url = urllib.parse.urlsplit(platform.admin_url)
    connection = http.client.HTTPSConnection(url.hostname or "", url.port, timeout=20, context=platform.tls())
    try:
        headers = {"Authorization": f"Bearer {token or platform.admin_token}"}
        connection.request(method, f"/api/v1{path}", None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_a_token_does_what_its_scopes_say_until_it_ends(platform: Platform) -> None:
    status, made = ask(platform, "POST", "/tokens", {"name": "scoped", "scopes": ["domains:write", "tokens:write"]})
    assert status == 201
    token = made["token"]
    assert ask(platform, "PUT", "/domains/scoped.example", {}, token=token)[0] == 201
    status, problem = ask(platform, "GET", "/queue", token=token)
    assert (status, problem["detail"]) == (403, "this token lacks the scope queue:read")
    assert ask(platform, "POST", "/tokens", {"name": "more", "scopes": ["admin"]}, token=token)[0] == 403
    assert ask(platform, "GET", "/tokens/scoped")[1]["last_used_ms"] is not None
    rotated = ask(platform, "POST", "/tokens/scoped/rotate")[1]["token"]
    assert ask(platform, "GET", "/domains", token=token)[0] == 401
    assert ask(platform, "GET", "/domains", token=rotated)[0] == 200
    assert ask(platform, "DELETE", "/tokens/scoped")[0] == 200
    assert ask(platform, "GET", "/domains", token=rotated)[0] == 401
    assert ask(platform, "DELETE", "/tokens/bootstrap")[0] == 409


def test_the_host_s_new_token_is_taken_without_a_restart(platform: Platform) -> None:
    old, data_dir = platform.admin_token, platform.data_dir
    path = layout_of(data_dir, {}).secrets / "admin-token"
    before = path.read_bytes()
    assert before.decode().strip() == old
    try:
        told = json.loads(postbus("admin", "reset-token", "--data-dir", str(data_dir), "--json").stdout)
        assert ask(platform, "GET", "/domains", token=told["token"])[0] == 200
        assert ask(platform, "GET", "/domains", token=old)[0] == 401
        assert json.loads(postbus("token", "list", "--data-dir", str(data_dir), "--json").stdout)
    finally:  # other tests of this session know the old one
        restore(path, data_dir, before)
    assert ask(platform, "GET", "/domains", token=old)[0] == 200


def restore(path: Path, data_dir: Path, content: bytes) -> None:
    """The token of before, in both files."""
    connection = layout_of(data_dir, {}).connection_file
    new = path.read_text().strip()
    connection.write_text(connection.read_text().replace(new, content.decode().strip()))
    path.write_bytes(content)
