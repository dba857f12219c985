"""DNS for services: a caching asynchronous resolver with deadlines, and a door to it for blocking libraries.

Answers are values of ours; a name that does not exist and a name without such records are answers (RFC 2308), while a
server that fails or stays silent is MailError UNAVAILABLE: a caller can never take one for the other. Answers are
cached by their TTL within bounds, failures for a few seconds (RFC 9520 §3.2). Queries under way are shared. Nothing
here follows the DNS tree itself: the server named by the settings does, and its AD bit is passed on (RFC 6840 §5.8).
"""

import asyncio
import concurrent.futures
import enum
import ipaddress
import logging
import socket
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdata
import dns.rdatatype
import dns.resolver
import msgspec

from postbus.core.clock import Clock, SystemClock
from postbus.core.errors import ErrorKind, MailError

log = logging.getLogger(__name__)

MAX_NAME_OCTETS: Final = 253  # RFC 1035 §2.3.4, as text without the final dot
MAX_LABEL_OCTETS: Final = 63  # RFC 1035 §2.3.4
EDNS_PAYLOAD_OCTETS: Final = 1232
"""Fits every path without fragments; longer answers come over TCP."""

MIN_TTL_SECONDS: Final = 5.0
MAX_TTL_SECONDS: Final = 3600.0
MAX_NEGATIVE_TTL_SECONDS: Final = 300.0
FAILURE_TTL_SECONDS: Final = 2.0  # RFC 9520 §3.2: at least 1 s
MAX_CACHE_ENTRIES: Final = 20_000
MAX_QUERIES_UNDER_WAY: Final = 500


class DnsStatus(enum.StrEnum):
    """What the DNS said."""

    ANSWER = "answer"
    NODATA = "nodata"
    """The name exists, without records of this type."""
    NXDOMAIN = "nxdomain"
    """The name does not exist, nor anything below it (RFC 8020)."""


class RecordType(enum.StrEnum):
    """The types that this resolver understands."""

    A = "A"
    AAAA = "AAAA"
    CNAME = "CNAME"
    MX = "MX"
    NS = "NS"
    PTR = "PTR"
    TLSA = "TLSA"
    TXT = "TXT"


class HostRecord(msgspec.Struct, frozen=True):
    """A and AAAA (an address), CNAME, NS and PTR (a lower-case name without the final dot)."""

    value: str


class MxRecord(msgspec.Struct, frozen=True, order=True):
    """MX; an empty exchange is the null MX (RFC 7505)."""

    preference: int
    exchange: str


class TxtRecord(msgspec.Struct, frozen=True):
    """TXT: character-strings as they came."""

    strings: tuple[bytes, ...]

    @property
    def joined(self) -> bytes:
        """The strings as one, as SPF, DKIM and DMARC want them."""
        return b"".join(self.strings)


class TlsaRecord(msgspec.Struct, frozen=True):
    """TLSA (RFC 6698 §2.1)."""

    usage: int
    selector: int
    matching_type: int
    data: bytes


Record = HostRecord | MxRecord | TxtRecord | TlsaRecord


class DnsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one question; records in no order that means anything."""

    name: str
    record_type: RecordType
    status: DnsStatus
    records: tuple[Record, ...] = ()
    authenticated: bool = False
    """The AD bit: the server says that it validated the answer with DNSSEC."""
    ttl_seconds: float = 0.0
    """How long the answer held when it came."""

    def hosts(self) -> tuple[str, ...]:
        """Values of A, AAAA, CNAME, NS or PTR records."""
        return tuple(record.value for record in self.records if isinstance(record, HostRecord))

    def texts(self) -> tuple[bytes, ...]:
        """TXT records, each as one string."""
        return tuple(record.joined for record in self.records if isinstance(record, TxtRecord))

    def exchanges(self) -> tuple[MxRecord, ...]:
        """MX records, the most preferred first."""
        return tuple(sorted(record for record in self.records if isinstance(record, MxRecord)))


class Resolver(Protocol):
    """The port of everything that asks the DNS."""

    async def resolve(self, name: str, record_type: RecordType) -> DnsAnswer:
        """The answer. Raises MailError: UNAVAILABLE (a failing or silent server), INVALID (not a domain name)."""
        ...

    def cached(self, name: str, record_type: RecordType) -> DnsAnswer | None:
        """The answer if it is at hand; callable from any thread."""
        ...


def normalize_name(name: str) -> str:
    """A name as it is asked for: lower-case A-labels without the final dot.

    Raises MailError: INVALID for an empty name, an empty or overlong label, or a U-label without an A-label form.
    """
    plain = name.removesuffix(".").lower()
    if not plain.isascii():
        try:
            plain = dns.name.from_text(plain, idna_codec=dns.name.IDNA_2008_UTS_46).to_text(omit_final_dot=True)
        except (dns.exception.DNSException, UnicodeError) as error:
            raise MailError(ErrorKind.INVALID, "name: not a domain name") from error
    if not plain or len(plain) > MAX_NAME_OCTETS:
        raise MailError(ErrorKind.INVALID, "name: empty or too long")
    if not all(0 < len(label) <= MAX_LABEL_OCTETS for label in plain.split(".")):
        raise MailError(ErrorKind.INVALID, "name: empty or overlong label")
    return plain


def reverse_name(address: str) -> str:
    """The name that holds the PTR records of an IP address (RFC 1035 §3.5, RFC 3596 §2.5)."""
    return ipaddress.ip_address(address).reverse_pointer


class Upstream(Protocol):
    """Where a `DnsResolver` gets what it does not have."""

    async def ask(self, name: str, record_type: RecordType) -> DnsAnswer | None:
        """One query with its retries; None when no server answers."""
        ...


class DnsServer:
    """The server of the settings, or the system's, asked through dnspython (UDP, then TCP)."""

    def __init__(self, server: str, timeout_seconds: float) -> None:
        self._timeout = timeout_seconds
        self._stub = _make_stub(server, timeout_seconds)

    async def ask(self, name: str, record_type: RecordType) -> DnsAnswer | None:
        """One query with its retries; None when no server answers."""
        if self._stub is None:
            return None
        key = (name, record_type)
        try:
            qname = dns.name.from_text(_escape(name))
            answer = await self._stub.resolve(
                qname, record_type.value, raise_on_no_answer=False, search=False, lifetime=self._timeout
            )
        except dns.resolver.NXDOMAIN as error:
            response = next(iter(error.responses().values()), None)  # type: ignore[no-untyped-call]
            return _negative(key, DnsStatus.NXDOMAIN, response)
        except (dns.exception.DNSException, OSError, EOFError):
            return None
        if answer.rrset is None:
            return _negative(key, DnsStatus.NODATA, answer.response)
        return DnsAnswer(
            name=name,
            record_type=record_type,
            status=DnsStatus.ANSWER,
            records=tuple(_convert(rdata) for rdata in answer.rrset),
            authenticated=bool(answer.response.flags & dns.flags.AD),
            ttl_seconds=float(answer.chaining_result.minimum_ttl),
        )


class _Cached(msgspec.Struct, frozen=True):
    expires: float
    answer: DnsAnswer | None
    """None: the server failed."""


class DnsResolver:
    """A `Resolver` over dnspython.

    One query under way serves all who ask the same; it belongs to the resolver, so that a caller who gives up does not
    take it away from the others. `close()` ends what is left. Outcomes are told to `observe`: `cached`, `answer`,
    `nodata`, `nxdomain`, `failed`.
    """

    def __init__(
        self,
        server: str = "",
        *,
        timeout_seconds: float = 5.0,
        clock: Clock | None = None,
        observe: Callable[[str], None] | None = None,
        max_entries: int = MAX_CACHE_ENTRIES,
        upstream: "Upstream | None" = None,
    ) -> None:
        """`server` is HOST:PORT, or empty for the system's; one query, with its retries, takes `timeout_seconds`."""
        self._clock = clock or SystemClock()
        self._observe = observe or (lambda _outcome: None)
        self._max_entries = max_entries
        self._cache: OrderedDict[tuple[str, RecordType], _Cached] = OrderedDict()
        self._under_way: dict[tuple[str, RecordType], asyncio.Task[DnsAnswer | None]] = {}
        self._upstream = upstream or DnsServer(server, timeout_seconds)

    async def resolve(self, name: str, record_type: RecordType) -> DnsAnswer:
        """The answer, from the cache or from the server."""
        key = (normalize_name(name), record_type)
        hit = self._lookup(key)
        if hit is not None:
            self._observe("cached")
            return _answer_or_raise(key, hit.answer)
        task = self._under_way.get(key)
        if task is None:
            if len(self._under_way) >= MAX_QUERIES_UNDER_WAY:
                raise MailError(ErrorKind.UNAVAILABLE, "dns: too many queries under way")
            task = asyncio.get_running_loop().create_task(self._query(key))
            self._under_way[key] = task
            task.add_done_callback(lambda _task: self._under_way.pop(key, None))
        return _answer_or_raise(key, await asyncio.shield(task))

    def cached(self, name: str, record_type: RecordType) -> DnsAnswer | None:
        """The answer if it is at hand; callable from any thread. Raises MailError: INVALID, UNAVAILABLE (as known)."""
        key = (normalize_name(name), record_type)
        hit = self._lookup(key)
        if hit is None:
            return None
        self._observe("cached")
        return _answer_or_raise(key, hit.answer)

    async def close(self) -> None:
        """Ends the queries under way; those who wait for them are cancelled."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _lookup(self, key: tuple[str, RecordType]) -> _Cached | None:
        entry = self._cache.get(key)
        if entry is None or entry.expires <= self._clock.monotonic():
            return None
        return entry

    async def _query(self, key: tuple[str, RecordType]) -> DnsAnswer | None:
        answer = await self._upstream.ask(*key)
        if answer is None:
            ttl = FAILURE_TTL_SECONDS
        else:
            most = MAX_TTL_SECONDS if answer.status is DnsStatus.ANSWER else MAX_NEGATIVE_TTL_SECONDS
            ttl = min(max(answer.ttl_seconds, MIN_TTL_SECONDS), most)
        self._observe("failed" if answer is None else answer.status.value)
        self._cache[key] = _Cached(self._clock.monotonic() + ttl, answer)
        self._cache.move_to_end(key)
        while len(self._cache) > self._max_entries:
            self._cache.popitem(last=False)
        return answer


class BlockingResolver:
    """The resolver for a library that blocks: used in a worker thread, for one message, until its deadline.

    What is cached costs no hop to the loop. Raises MailError as `Resolver.resolve`, UNAVAILABLE also at the deadline.
    """

    def __init__(self, resolver: Resolver, loop: asyncio.AbstractEventLoop, deadline: float, clock: Clock) -> None:
        """`deadline` is a time of `clock.monotonic()`."""
        self._resolver = resolver
        self._loop = loop
        self._deadline = deadline
        self._clock = clock

    def resolve(self, name: str, record_type: RecordType) -> DnsAnswer:
        """The answer; never call this on the loop's own thread."""
        answer = self._resolver.cached(name, record_type)
        if answer is not None:
            return answer
        left = self._deadline - self._clock.monotonic()
        if left <= 0:
            raise MailError(ErrorKind.UNAVAILABLE, "dns: deadline reached")
        future = asyncio.run_coroutine_threadsafe(self._resolver.resolve(name, record_type), self._loop)
        try:
            return future.result(left)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError) as error:
            future.cancel()
            raise MailError(ErrorKind.UNAVAILABLE, "dns: deadline reached") from error


def _make_stub(server: str, timeout_seconds: float) -> dns.asyncresolver.Resolver | None:
    """None: the system names no server; then every query fails, as with a server that is away."""
    if server:
        stub = dns.asyncresolver.Resolver(configure=False)
        host, port = _parse_server(server)
        stub.nameservers = [host]
        stub.port = port
    else:
        try:
            stub = dns.asyncresolver.Resolver(configure=True)
        except dns.resolver.NoResolverConfiguration:
            log.warning("dns.no_server")
            return None
    stub.timeout = min(2.0, timeout_seconds)
    stub.flags = dns.flags.RD | dns.flags.AD
    stub.use_edns(0, 0, EDNS_PAYLOAD_OCTETS)
    stub.cache = None
    return stub


def _parse_server(server: str) -> tuple[str, int]:
    host, colon, port = server.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise MailError(ErrorKind.INVALID, "resolver: HOST:PORT is wanted")
    host = host.removeprefix("[").removesuffix("]")
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)
    except OSError as error:
        raise MailError(ErrorKind.INVALID, "resolver: unknown host") from error
    return str(found[0][4][0]), int(port)


def _escape(name: str) -> str:
    """Backslashes and quotes of a name are octets, not dnspython's escapes."""
    return name.replace("\\", "\\\\").replace('"', '\\"') if '"' in name or "\\" in name else name


def _answer_or_raise(key: tuple[str, RecordType], answer: DnsAnswer | None) -> DnsAnswer:
    if answer is None:
        raise MailError(ErrorKind.UNAVAILABLE, f"dns: no answer for {key[1].value} {key[0]}")
    return answer


def _negative(key: tuple[str, RecordType], status: DnsStatus, response: dns.message.QueryMessage | None) -> DnsAnswer:
    ttl, authenticated = 0.0, False
    if response is not None:
        authenticated = bool(response.flags & dns.flags.AD)
        for rrset in response.authority:
            if rrset.rdtype == dns.rdatatype.SOA:
                ttl = float(min(rrset.ttl, rrset[0].minimum))  # RFC 2308 §5
    return DnsAnswer(name=key[0], record_type=key[1], status=status, authenticated=authenticated, ttl_seconds=ttl)


def _host_text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower().removesuffix(".")


_NAME_TYPES: Final = frozenset({dns.rdatatype.CNAME, dns.rdatatype.NS, dns.rdatatype.PTR})


def _convert(rdata: dns.rdata.Rdata) -> Record:
    """dnspython's classes are made at run time: their attributes are known to nobody's type checker."""
    kind = rdata.rdtype
    if kind == dns.rdatatype.TXT:
        return TxtRecord(tuple(rdata.strings))  # type: ignore[attr-defined]
    if kind == dns.rdatatype.MX:
        return MxRecord(rdata.preference, _host_text(rdata.exchange))  # type: ignore[attr-defined]
    if kind == dns.rdatatype.TLSA:
        return TlsaRecord(rdata.usage, rdata.selector, rdata.mtype, rdata.cert)  # type: ignore[attr-defined]
    if kind in _NAME_TYPES:
        return HostRecord(_host_text(rdata.target))  # type: ignore[attr-defined]
    return HostRecord(rdata.address)  # type: ignore[attr-defined]
