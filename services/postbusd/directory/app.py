"""Composition root of directory."""

from pathlib import Path

import postbus
from postbus.bus.subjects import SUBJECT_DIRECTORY_CHANGED
from postbus.contracts.events import DirectoryChanged
from postbus.mailstore.postgres import PostgresMailStore
from postbus.runtime.dns import DnsResolver
from postbus.runtime.http_client import HttpClient, client_tls
from postbus.runtime.sealing import Sealer, read_master_key
from postbus.runtime.service import Context, ServiceSpec
from postbusd.directory.adapters.argon2 import Argon2Hasher
from postbusd.directory.adapters.postgres import PostgresDirectory
from postbusd.directory.adapters.postgres_epoch import RevisionEpochs
from postbusd.directory.adapters.provider_http import ProviderHttp
from postbusd.directory.administration import Tools
from postbusd.directory.confirming import LoginConfirming
from postbusd.directory.login import PasswordAuthenticator
from postbusd.directory.oidc.relying_party import RelyingParty
from postbusd.directory.passwords import CredentialKeys
from postbusd.directory.purging import Purging
from postbusd.directory.resolution import CachedResolver
from postbusd.directory.routes import CachedRoutes
from postbusd.directory.service import DirectoryService, LoginParts
from postbusd.directory.settings import DirectorySettings
from postbusd.directory.token_login import TokenLogin

DNS_SECONDS = 5.0


class RunningDirectory:
    """What the process holds."""

    def __init__(self, context: Context, service: DirectoryService, hasher: Argon2Hasher, purging: Purging) -> None:
        self._context = context
        self._service = service
        self._hasher = hasher
        self._purging = purging

    @property
    def port(self) -> DirectoryService:
        """The implementation of the contract."""
        return self._service

    async def start(self) -> None:
        """Follows the changes of other processes."""
        await self._context.bus.listen(SUBJECT_DIRECTORY_CHANGED, DirectoryChanged, self._service.note_change)
        self._context.bus.on_reconnect(self._service.forget)
        self._context.spawn("outbox", self._service.relay_events)
        self._context.spawn("purge", self._purging.run)

    async def drain(self) -> None:
        """Nothing listens here; password checks that wait are still answered."""
        self._hasher.close()


async def build(context: Context, settings: DirectorySettings) -> RunningDirectory:
    """Puts the service together."""
    hasher = Argon2Hasher(threads=settings.hash_threads, queue_logins=settings.queue_logins, registry=context.registry)
    accounts = PostgresMailStore(await context.postgres())
    repository = PostgresDirectory(context.postgres)
    master_key = read_master_key(Path(context.runtime.secrets_dir))
    keys, sealer = CredentialKeys(master_key), Sealer(master_key)
    party = RelyingParty(repository, ProviderHttp(_client(context, settings)), sealer, context.clock)
    purging = Purging(repository, accounts, context.clock, context.registry)
    service = DirectoryService(
        resolver=CachedResolver(repository, accounts, context.clock, context.registry),
        logins=LoginParts(
            authenticator=PasswordAuthenticator(repository, hasher, keys, context.clock, context.registry),
            token_login=TokenLogin(repository, party, keys, context.clock, context.registry),
            confirming=LoginConfirming(repository, keys),
        ),
        routes=CachedRoutes(repository, sealer, context.clock),
        tools=Tools(
            repository=repository,
            accounts=accounts,
            hasher=hasher,
            keys=keys,
            sealer=sealer,
            clock=context.clock,
            party=party,
            wake_purging=purging.wake,
        ),
        bus=context.bus,
    )
    purging.tell(service.wake_events)
    context.add_check("database", service.check_database)
    context.epoch.listen(RevisionEpochs(service.tell_all).begin)
    return RunningDirectory(context, service, hasher, purging)


def _client(context: Context, settings: DirectorySettings) -> HttpClient:
    """For requests to the identity provider."""
    return HttpClient(
        DnsResolver(context.runtime.resolver, timeout_seconds=DNS_SECONDS, clock=context.clock),
        settings.provider_networks(),
        client_tls(settings.provider_ca_file, "provider_ca_file"),
        agent=f"postbus/{postbus.__version__}",
        setting="POSTBUS_DIRECTORY_PROVIDER_EGRESS_ALLOW",
    )


SPEC = ServiceSpec(name="directory", settings=DirectorySettings, build=build)
