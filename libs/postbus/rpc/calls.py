"""Every method of every contract, from the descriptors: what `server`, `client` and `local` agree on."""

import functools
import re
import typing

import msgspec
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from postbus.contracts.admin_api import AdminApi
from postbus.contracts.bulk import IMPORT_SECONDS
from postbus.contracts.delivery import Delivery
from postbus.contracts.directory import Directory
from postbus.contracts.dns_provisioner import DnsProvisioner
from postbus.contracts.filter import Filter
from postbus.contracts.imap_gateway import ImapGateway
from postbus.contracts.indexer import Indexer
from postbus.contracts.relay_test import RELAY_TEST_SECONDS
from postbus.contracts.smtp_edge import SmtpEdge
from postbus.rpc.gen import (
    admin_api_pb2,
    delivery_pb2,
    directory_pb2,
    dns_provisioner_pb2,
    filter_pb2,
    imap_gateway_pb2,
    indexer_pb2,
    smtp_edge_pb2,
)

CONTRACTS: dict[str, tuple[type, ServiceDescriptor]] = {
    "directory": (Directory, directory_pb2.DESCRIPTOR.services_by_name["Directory"]),
    "filter": (Filter, filter_pb2.DESCRIPTOR.services_by_name["Filter"]),
    "delivery": (Delivery, delivery_pb2.DESCRIPTOR.services_by_name["Delivery"]),
    "indexer": (Indexer, indexer_pb2.DESCRIPTOR.services_by_name["Indexer"]),
    "dns-provisioner": (DnsProvisioner, dns_provisioner_pb2.DESCRIPTOR.services_by_name["DnsProvisioner"]),
    "smtp-edge": (SmtpEdge, smtp_edge_pb2.DESCRIPTOR.services_by_name["SmtpEdge"]),
    "imap-gateway": (ImapGateway, imap_gateway_pb2.DESCRIPTOR.services_by_name["ImapGateway"]),
    "admin-api": (AdminApi, admin_api_pb2.DESCRIPTOR.services_by_name["AdminApi"]),
}
"""Service name → port and gRPC service."""

_SECONDS = {
    ("directory", "import_mailboxes"): IMPORT_SECONDS,
    ("delivery", "test_relay"): RELAY_TEST_SECONDS + 10.0,
}


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """One method: `name` as the port spells it, `path` as gRPC does."""

    name: str
    path: str
    request: type[msgspec.Struct]
    reply: type[msgspec.Struct]
    request_message: type[Message]
    reply_message: type[Message]
    seconds: float | None
    """Its own deadline; None: the usual one."""


@functools.cache
def methods(service: str) -> dict[str, Method]:
    """The methods of a service by port name. Raises KeyError for an unknown service."""
    port, descriptor = CONTRACTS[service]
    found = {}
    for method in descriptor.methods:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower()
        hints = typing.get_type_hints(getattr(port, name))
        found[name] = Method(
            name=name,
            path=f"/{descriptor.full_name}/{method.name}",
            request=hints["request"],
            reply=hints["return"],
            request_message=GetMessageClass(method.input_type),
            reply_message=GetMessageClass(method.output_type),
            seconds=_SECONDS.get((service, name)),
        )
    return found
