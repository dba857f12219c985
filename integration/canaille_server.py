"""Canaille, an identity provider, on a port of the loopback address; a line on standard input changes something.

Run by test_identity_provider.py in a process of its own: PORT as the argument, `ready` once it listens.
"""

import datetime
import json
import logging
import secrets
import sys
import threading
from typing import Any

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from canaille.backends.memory.backend import MemoryBackend
from canaille.oidc.provider import authorization
from joserfc.jwk import RSAKey
from werkzeug.serving import make_server

SCOPES = ["openid", "profile", "email"]


_query_any = MemoryBackend.do_query


def _query_all(backend: MemoryBackend, model: Any, **wanted: Any) -> Any:
    """Objects that fit every condition: the database in memory takes those that fit any."""
    fitting = [_query_any(backend, model, **{name: value}) for name, value in wanted.items()]
    if len(fitting) < 2:
        return fitting[0] if fitting else _query_any(backend, model)
    ids = set.intersection(*({each.id for each in found} for found in fitting))
    return [each for each in fitting[0] if each.id in ids]


def make_key() -> dict[str, Any]:
    """A private key."""
    return dict(RSAKey.generate_key(2048, auto_kid=True).as_dict(private=True))


def make_app(port: int, settings: dict[str, Any]) -> Any:
    """The application with its users and clients."""
    app = create_app(
        {
            "SECRET_KEY": "x" * 32,
            "SERVER_NAME": f"127.0.0.1:{port}",
            "PREFERRED_URL_SCHEME": "http",
            "CANAILLE": {"DATABASE": "memory", "JAVASCRIPT": False, "HTMX": False},
            "CANAILLE_OIDC": {
                "ACTIVE_JWKS": [make_key()],
                "TRUSTED_DOMAINS": ["127.0.0.1"],
                "USERINFO_MAPPING": {"PREFERRED_USERNAME": "{{ user.user_name }}"},
            },
        }
    )
    with app.app_context():
        for name in settings["users"]:
            user = models.User(formatted_name=name, family_name=name, user_name=name, emails=[name])
            user.password = settings["password"]
            Backend.instance.save(user)
        for client_id in settings["clients"]:
            client = models.Client(
                client_id=client_id,
                client_secret=settings["secret"],
                client_name=client_id,
                client_uri=f"http://127.0.0.1:{port}",
                redirect_uris=settings["redirect_uris"],
                grant_types=["authorization_code"],
                response_types=["code"],
                scope=SCOPES,
                token_endpoint_auth_method="client_secret_basic",
                client_id_issued_at=datetime.datetime.now(datetime.UTC),
            )
            Backend.instance.save(client)
            client.audience = [client]
            Backend.instance.save(client)
    return app


def change(app: Any, what: str) -> None:
    """`rotate`: other keys; `opaque`, `past`: tokens from now on are; `expire`: those that it knows end."""
    generator = authorization._token_generators["default"]
    with app.app_context():
        if what == "rotate":
            app.config["CANAILLE_OIDC"]["ACTIVE_JWKS"] = [make_key()]
        elif what == "opaque":
            generator.access_token_generator = lambda client, grant_type, user, scope: secrets.token_urlsafe(40)
        elif what == "past":
            generator.expires_generator = lambda client, grant_type: -100
        elif what == "present":
            generator.expires_generator = lambda client, grant_type: 1000
        elif what == "expire":
            for token in Backend.instance.query(models.Token):
                token.issue_date -= datetime.timedelta(days=30)
                Backend.instance.save(token)


def main() -> None:
    """Until standard input ends."""
    logging.disable()
    MemoryBackend.do_query = _query_all
    settings = json.loads(sys.stdin.readline())
    app = make_app(int(sys.argv[1]), settings)
    server = make_server("127.0.0.1", int(sys.argv[1]), app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    for line in sys.stdin:
        change(app, line.strip())
        print("done", flush=True)


if __name__ == "__main__":
    main()
