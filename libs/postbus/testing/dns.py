"""A DNS without a network: `FakeResolver` answers from a zone in memory, as `postbus.runtime.dns.Resolver` would."""

from collections.abc import Iterable

from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.dns import (
    DnsAnswer,
    DnsStatus,
    HostRecord,
    MxRecord,
    Record,
    RecordType,
    TxtRecord,
    normalize_name,
)

MAX_CNAME_CHAIN = 16


class FakeResolver:
    """A zone in memory. Names without records below them do not exist; CNAMEs are followed; `queries` lists all asked.

    With `ready=False` nothing is at hand without a trip to the loop, as with an empty cache.
    """

    def __init__(self, *, ready: bool = True) -> None:
        self.queries: list[tuple[str, RecordType]] = []
        self._ready = ready
        self._records: dict[str, dict[RecordType, list[Record]]] = {}
        self._failing: set[tuple[str, RecordType | None]] = set()
        self._authenticated: set[str] = set()

    def add(self, name: str, record_type: RecordType, *records: Record) -> "FakeResolver":
        """Adds records."""
        self._records.setdefault(normalize_name(name), {}).setdefault(record_type, []).extend(records)
        return self

    def add_txt(self, name: str, *texts: str | bytes) -> "FakeResolver":
        """Adds TXT records of one string each."""
        as_bytes = (text.encode() if isinstance(text, str) else text for text in texts)
        return self.add(name, RecordType.TXT, *(TxtRecord((text,)) for text in as_bytes))

    def add_address(self, name: str, *addresses: str) -> "FakeResolver":
        """Adds A or AAAA records, as each address tells."""
        for address in addresses:
            self.add(name, RecordType.AAAA if ":" in address else RecordType.A, HostRecord(address))
        return self

    def add_names(self, name: str, record_type: RecordType, *targets: str) -> "FakeResolver":
        """Adds CNAME, NS or PTR records."""
        return self.add(name, record_type, *(HostRecord(target.removesuffix(".").lower()) for target in targets))

    def add_mx(self, name: str, *exchanges: tuple[int, str]) -> "FakeResolver":
        """Adds MX records."""
        return self.add(name, RecordType.MX, *(MxRecord(number, host.removesuffix(".")) for number, host in exchanges))

    def fail(self, name: str, *record_types: RecordType) -> "FakeResolver":
        """Makes queries for the name fail: of these types, or of all."""
        self._failing.update((normalize_name(name), kind) for kind in record_types or (None,))
        return self

    def authenticate(self, names: Iterable[str]) -> "FakeResolver":
        """Answers for these names carry the AD bit."""
        self._authenticated.update(normalize_name(name) for name in names)
        return self

    async def resolve(self, name: str, record_type: RecordType) -> DnsAnswer:
        """The zone's answer."""
        return self._answer(name, record_type)

    def cached(self, name: str, record_type: RecordType) -> DnsAnswer | None:
        """The zone's answer, if the fake is `ready`."""
        return self._answer(name, record_type) if self._ready else None

    def _answer(self, name: str, record_type: RecordType) -> DnsAnswer:
        name = normalize_name(name)
        self.queries.append((name, record_type))
        current = name
        for _ in range(MAX_CNAME_CHAIN):
            if (current, None) in self._failing or (current, record_type) in self._failing:
                raise MailError(ErrorKind.UNAVAILABLE, f"dns: no answer for {record_type.value} {name}")
            sets = self._records.get(current, {})
            aliases = sets.get(RecordType.CNAME, [])
            if record_type in sets or not aliases or record_type is RecordType.CNAME:
                return self._make(name, record_type, current)
            target = aliases[0]
            current = target.value if isinstance(target, HostRecord) else current
        raise MailError(ErrorKind.UNAVAILABLE, f"dns: CNAME loop at {name}")

    def _make(self, name: str, record_type: RecordType, current: str) -> DnsAnswer:
        records = self._records.get(current, {}).get(record_type, [])
        exists = current in self._records or any(other.endswith("." + current) for other in self._records)
        status = DnsStatus.ANSWER if records else DnsStatus.NODATA if exists else DnsStatus.NXDOMAIN
        return DnsAnswer(
            name=name,
            record_type=record_type,
            status=status,
            records=tuple(records),
            authenticated=name in self._authenticated,
            ttl_seconds=60.0,
        )
