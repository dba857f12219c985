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
from postbusd.admin_api.rest.aliases import delete_alias, get_alias, list_aliases, patch_alias, put_alias
from postbusd.admin_api.rest.app_passwords import add_app_password, delete_app_password, list_app_passwords
from postbusd.admin_api.rest.apps import delete_app, get_app, list_apps, patch_app, put_app, rotate_app_credential
from postbusd.admin_api.rest.audit import list_audit
from postbusd.admin_api.rest.auditing import AuditMiddleware
from postbusd.admin_api.rest.backend import Backend, check_request, require_token
from postbusd.admin_api.rest.documentation import get_docs, get_docs_script, get_docs_style, get_openapi
from postbusd.admin_api.rest.domain_dns import get_domain_dns, get_domain_zone
from postbusd.admin_api.rest.domains import delete_domain, get_domain, list_domains, patch_domain, put_domain
from postbusd.admin_api.rest.events import list_events
from postbusd.admin_api.rest.groups import delete_group, get_group, list_groups, patch_group, put_group
from postbusd.admin_api.rest.held import change_held, list_held
from postbusd.admin_api.rest.identity_provider import (
    begin_provider_sign_in,
    delete_identity_provider,
    finish_provider_sign_in,
    get_identity_provider,
    put_identity_provider,
)
from postbusd.admin_api.rest.ledger import get_ledger, settle_ledger
from postbusd.admin_api.rest.lists import delete_list, get_list, list_lists, patch_list, put_list
from postbusd.admin_api.rest.mailbox_life import (
    get_mailbox_usage,
    list_archived_mailboxes,
    purge_mailbox,
    rename_mailbox,
    restore_mailbox,
)
from postbusd.admin_api.rest.mailbox_tables import export_mailboxes, import_mailboxes
from postbusd.admin_api.rest.mailboxes import delete_mailbox, get_mailbox, list_mailboxes, patch_mailbox, put_mailbox
from postbusd.admin_api.rest.me import get_me, list_own_logins, put_own_password
from postbusd.admin_api.rest.messages import get_message, list_messages
from postbusd.admin_api.rest.password_reset import begin_password_reset, finish_password_reset
from postbusd.admin_api.rest.policy import get_policy, patch_policy, put_policy
from postbusd.admin_api.rest.problems import handle_http_error, handle_mail_error, handle_unknown_error
from postbusd.admin_api.rest.queue import change_queue, list_queue
from postbusd.admin_api.rest.relays import list_relay_presets, test_relay
from postbusd.admin_api.rest.repeating import RepeatMiddleware
from postbusd.admin_api.rest.second_factor import (
    begin_second_factor,
    confirm_second_factor,
    delete_second_factor,
    get_own_second_factor,
    get_second_factor,
    remove_own_second_factor,
)
from postbusd.admin_api.rest.sessions import begin_session, end_own_session, end_session, list_own_sessions
from postbusd.admin_api.rest.system import get_ca, get_health, get_status
from postbusd.admin_api.rest.tokens import add_token, delete_token, get_token, list_tokens, rotate_token
from postbusd.admin_api.rest.users import delete_user, get_user, list_users, patch_user, put_user
from postbusd.admin_api.rest.webhooks import (
    change_webhook_deliveries,
    delete_webhook,
    get_webhook,
    list_webhook_deliveries,
    list_webhooks,
    put_webhook,
    rotate_webhook_secret,
    test_webhook,
)

ROOT = "/api/v1"
_SYSTEM = (get_health, get_status, get_ca)
_DOMAINS = (list_domains, get_domain, put_domain, patch_domain, delete_domain, get_domain_dns, get_domain_zone)
_RELAYS = (list_relay_presets, test_relay)
_SESSIONS = (
    begin_session,
    end_session,
    begin_provider_sign_in,
    finish_provider_sign_in,
    begin_password_reset,
    finish_password_reset,
)
_PROVIDER = (get_identity_provider, put_identity_provider, delete_identity_provider)
_ME = (
    get_me,
    put_own_password,
    list_own_logins,
    list_own_sessions,
    end_own_session,
    get_own_second_factor,
    begin_second_factor,
    confirm_second_factor,
    remove_own_second_factor,
)
_SECOND_FACTORS = (get_second_factor, delete_second_factor)
_USERS = (list_users, get_user, put_user, patch_user, delete_user)
_APP_PASSWORDS = (list_app_passwords, add_app_password, delete_app_password)
_GROUPS = (list_groups, get_group, put_group, patch_group, delete_group)
_APPS = (list_apps, get_app, put_app, patch_app, delete_app, rotate_app_credential)
_MAILBOXES = (list_mailboxes, get_mailbox, put_mailbox, patch_mailbox, delete_mailbox)
_LIFE = (get_mailbox_usage, rename_mailbox, list_archived_mailboxes, restore_mailbox, purge_mailbox)
_TABLES = (export_mailboxes, import_mailboxes)
_ALIASES = (list_aliases, get_alias, put_alias, patch_alias, delete_alias)
_LISTS = (list_lists, get_list, put_list, patch_list, delete_list)
_MAIL = (list_queue, change_queue, list_messages, get_message, list_events)
_LEDGER = (get_ledger, settle_ledger, list_held, change_held)
_WEBHOOKS = (
    list_webhooks,
    get_webhook,
    put_webhook,
    delete_webhook,
    rotate_webhook_secret,
    test_webhook,
    list_webhook_deliveries,
    change_webhook_deliveries,
)
_POLICY = (get_policy, put_policy, patch_policy)
_TOKENS = (list_tokens, get_token, add_token, rotate_token, delete_token, list_audit)
_DOCUMENTS = (get_openapi, get_docs, get_docs_script, get_docs_style)
ROUTES = (
    *_SYSTEM,
    *_DOMAINS,
    *_RELAYS,
    *_SESSIONS,
    *_ME,
    *_USERS,
    *_SECOND_FACTORS,
    *_APP_PASSWORDS,
    *_GROUPS,
    *_APPS,
    *_MAILBOXES,
    *_LIFE,
    *_TABLES,
    *_ALIASES,
    *_LISTS,
    *_MAIL,
    *_LEDGER,
    *_WEBHOOKS,
    *_POLICY,
    *_PROVIDER,
    *_TOKENS,
    *_DOCUMENTS,
)


def create_application(backend: Backend, max_body_octets: int) -> Litestar:
    """The API over its ports."""
    return Litestar(
        route_handlers=[
            Router(
                ROOT,
                route_handlers=list(ROUTES),
                guards=[require_token],
                before_request=check_request,
                middleware=[AuditMiddleware, RepeatMiddleware],
            )
        ],
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
            use_handler_docstrings=True,
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
