"""The ASGI application. Imported only where the API is served: the framework costs 20 MiB."""

from typing import Any

from litestar import Litestar, Router
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

from postbus.core.errors import ErrorKind, MailError
from postbusd.admin_api.rest.backend import Backend, check_body, require_token
from postbusd.admin_api.rest.documentation import get_docs, get_docs_script, get_docs_style, get_openapi
from postbusd.admin_api.rest.domains import list_domains, put_domain
from postbusd.admin_api.rest.mailboxes import list_mailboxes, put_mailbox
from postbusd.admin_api.rest.messages import get_message, list_events
from postbusd.admin_api.rest.problems import handle_http_error, handle_mail_error, handle_unknown_error
from postbusd.admin_api.rest.system import get_ca, get_health, get_status

ROOT = "/api/v1"
ROUTES = (
    get_health,
    get_status,
    get_ca,
    list_domains,
    put_domain,
    list_mailboxes,
    put_mailbox,
    get_message,
    list_events,
    get_openapi,
    get_docs,
    get_docs_script,
    get_docs_style,
)


def create_application(backend: Backend, max_body_octets: int) -> Litestar:
    """The API over its ports."""
    return Litestar(
        route_handlers=[Router(ROOT, route_handlers=list(ROUTES), guards=[require_token], before_request=check_body)],
        exception_handlers={
            MailError: handle_mail_error,
            HTTPException: handle_http_error,
            Exception: handle_unknown_error,
        },
        openapi_config=OpenAPIConfig(
            title="Postbus",
            version=backend.version,
            description="Administration of a Postbus installation. Errors are problem+json (RFC 9457).",
            components=Components(
                security_schemes={"token": SecurityScheme(type="http", scheme="bearer", description="An API token.")}
            ),
            security=[{"token": []}],
            operation_id_creator=lambda handler, _method, _path: handler.handler_name,
            openapi_router=Router(f"{ROOT}/openapi", route_handlers=[], guards=[_refuse], include_in_schema=False),
        ),
        request_max_body_size=max_body_octets,
        state=State({"backend": backend}),
        logging_config=None,
        debug=False,
    )


def _refuse(connection: ASGIConnection[Any, Any, Any, State], handler: BaseRouteHandler) -> None:
    """The framework's own documentation routes load from other hosts: /openapi.json and /docs stand for them."""
    raise MailError(ErrorKind.NOT_FOUND, "see openapi.json and docs")
