"""Composition root of admin-api. The web framework is imported by `build`, not by commands that only read SPEC."""

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import postbus
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.dns import DnsResolver
from postbus.runtime.http_client import HttpClient, client_tls
from postbus.runtime.sealing import Sealer, read_master_key
from postbus.runtime.service import Context, ServiceSpec
from postbus.runtime.tls import ServerTls
from postbusd.admin_api.adapters.postgres import PostgresAdminStore
from postbusd.admin_api.adapters.postgres_webhooks import PostgresWebhookStore
from postbusd.admin_api.audit import Auditor
from postbusd.admin_api.books import find_ledger
from postbusd.admin_api.event_log import EventLog
from postbusd.admin_api.password_resets import PasswordResets
from postbusd.admin_api.repeats import Repeats
from postbusd.admin_api.retention import Retention
from postbusd.admin_api.sessions import Sessions
from postbusd.admin_api.settings import AdminApiSettings
from postbusd.admin_api.status import Checkable, Probe, StatusProbes, service_probes
from postbusd.admin_api.token_desk import TokenDesk
from postbusd.admin_api.tokens import Tokens
from postbusd.admin_api.webhooks.desk import WebhookDesk
from postbusd.admin_api.webhooks.teller import WebhookTeller

if TYPE_CHECKING:
    from postbusd.admin_api.adapters.http_server import HttpServer

BOOTSTRAP_FILE = "admin-token"
DNS_SECONDS = 5.0

log = logging.getLogger(__name__)


class RunningAdminApi:
    """What the process holds."""

    def __init__(  # noqa: PLR0913 (its parts)
        self,
        context: Context,
        settings: AdminApiSettings,
        *,
        tokens: Tokens,
        events: EventLog,
        teller: WebhookTeller,
        retention: Retention,
        resets: PasswordResets,
        server: "HttpServer",
    ) -> None:
        self._context = context
        self._settings = settings
        self._tokens = tokens
        self._events = events
        self._teller = teller
        self._retention = retention
        self._resets = resets
        self._server = server

    @property
    def port(self) -> Tokens:
        """The implementation of the contract."""
        return self._tokens

    async def start(self) -> None:
        """Opens the listener and follows the events."""
        await self._bootstrap()
        self._context.spawn("events", lambda: self._context.bus.consume_events(self._events.handle_events))
        self._context.spawn("webhooks", self._teller.run)
        self._context.spawn("retention", self._retention.run)
        if not self._settings.listen:
            return
        host, port = split_listen(self._settings.listen)
        taken = self._server.bind(host, port)
        self._context.spawn("api", self._serve)
        log.info("admin_api.listening", extra={"host": host, "port": taken})

    async def drain(self) -> None:
        """Takes no more requests, finishes those under way."""
        await self._server.stop()
        await self._resets.drain()
        await self._teller.close()

    async def _bootstrap(self) -> None:
        """The first try; later ones are the readiness check's and every token check's."""
        try:
            await self._tokens.bootstrap()
        except MailError as error:
            log.warning("admin_api.bootstrap.waiting", extra={"reason": str(error)})

    async def _serve(self) -> None:
        """The listener's loop; its end by `drain` is no fault."""
        await self._server.serve()
        await asyncio.Event().wait()


def split_listen(listen: str) -> tuple[str, int]:
    """HOST and PORT of a listen setting. Raises MailError: INVALID."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise MailError(ErrorKind.INVALID, "listen: must be HOST:PORT")
    return host.strip("[]"), int(port)


async def build(context: Context, settings: AdminApiSettings) -> RunningAdminApi:
    """Puts the service together."""
    from postbusd.admin_api.adapters.http_server import HttpServer
    from postbusd.admin_api.adapters.webhook_post import WebhookPoster
    from postbusd.admin_api.rest.application import create_application
    from postbusd.admin_api.rest.backend import Backend

    store = PostgresAdminStore(context.postgres)
    secrets_dir = Path(context.runtime.secrets_dir)
    sealer = Sealer(read_master_key(secrets_dir))
    resolver = DnsResolver(context.runtime.resolver, timeout_seconds=DNS_SECONDS, clock=context.clock)
    client = HttpClient(
        resolver,
        settings.webhook_networks(),
        client_tls(settings.webhook_ca_file, "webhook_ca_file"),
        agent=f"postbus/{postbus.__version__}",
        setting="POSTBUS_ADMIN_API_WEBHOOK_EGRESS_ALLOW",
    )
    poster = WebhookPoster(client)
    hooks = PostgresWebhookStore(context.postgres)
    teller = WebhookTeller(hooks, poster, sealer, context.clock, context.registry)
    tokens = Tokens(store, context.clock, secrets_dir / BOOTSTRAP_FILE)
    repeats = Repeats(store, sealer, context.clock)
    sessions = Sessions(store, store, context.rpc.directory, context.clock, settings, context.registry)
    books = context.rpc.delivery
    resets = PasswordResets(
        context.rpc.directory, context.rpc.delivery, store, context.clock, context.runtime.mail_host, context.registry
    )
    own = [Probe(name="database", ask=store.check)]
    if isinstance(context.bus, Checkable):
        own.append(Probe(name="bus", ask=context.bus.check))
    ledger = Probe(name="ledger", ask=lambda: find_ledger(books))
    backend = Backend(
        directory=context.rpc.directory,
        messages=context.rpc.delivery,
        queue=context.rpc.delivery,
        relays=context.rpc.delivery,
        books=books,
        edge=context.rpc.smtp_edge,
        dns=context.rpc.dns_provisioner,
        certificates=context.rpc.dns_provisioner,
        events=store,
        finder=store,
        audit=store,
        auditor=Auditor(store, context.registry),
        tokens=tokens,
        sessions=sessions,
        repeats=repeats,
        password_resets=resets,
        webhooks=WebhookDesk(hooks, poster, teller, sealer, context.clock),
        token_desk=TokenDesk(store, store, context.clock),
        status=StatusProbes([*own, *service_probes(context.rpc), ledger], context.clock, settings.probe_seconds),
        clock=context.clock,
        version=postbus.__version__,
        mail_host=context.runtime.mail_host,
    )
    tls = ServerTls(context)
    server = HttpServer(
        create_application(backend, settings.max_body_octets),
        tls.context,
        max_connections=settings.max_connections,
        request_seconds=settings.request_seconds,
    )
    context.add_check("database", store.check)
    context.add_check("token", tokens.bootstrap)
    return RunningAdminApi(
        context,
        settings,
        tokens=tokens,
        events=EventLog(store, context.registry, teller.wake),
        teller=teller,
        retention=Retention(store, (sessions, repeats), context.clock, context.registry, settings),
        resets=resets,
        server=server,
    )


SPEC = ServiceSpec(name="admin-api", settings=AdminApiSettings, build=build)
