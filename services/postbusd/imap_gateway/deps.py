"""What all sessions of a process share."""

import msgspec

from postbus.blobs.ports import BlobStore
from postbus.bus.ports import WakeUps
from postbus.contracts.directory import AddressResolver
from postbus.contracts.identity_provider import TokenAuthenticator
from postbus.contracts.indexer import Indexer
from postbus.contracts.logins import Authenticator
from postbus.core.clock import Clock
from postbus.runtime.event_log import EventLog
from postbus.runtime.logins import LoginWatch
from postbus.runtime.provider import ProviderWatch
from postbusd.imap_gateway.metrics import GatewayMetrics
from postbusd.imap_gateway.ports import GatewayStore
from postbusd.imap_gateway.room import AppendRoom
from postbusd.imap_gateway.settings import ImapGatewaySettings
from postbusd.imap_gateway.view_registry import ViewRegistry


class Deps(msgspec.Struct, frozen=True, kw_only=True):
    """Ports and settings."""

    store: GatewayStore
    blobs: BlobStore
    bus: WakeUps
    authenticator: Authenticator
    tokens: TokenAuthenticator
    provider: ProviderWatch
    logins: LoginWatch
    resolver: AddressResolver
    indexer: Indexer
    clock: Clock
    views: ViewRegistry
    events: EventLog
    metrics: GatewayMetrics
    settings: ImapGatewaySettings
    mail_host: str
    room: AppendRoom
    tls_offered: bool
    """STARTTLS can be done on plain connections."""
