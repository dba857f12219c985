"""SPF by pyspf. The library blocks: each evaluation runs in a bounded pool of threads and asks our resolver.

pyspf's own DNS code, which has neither a cache nor a common deadline, is never reached: `_Query.dns` replaces it.
"""

import asyncio
import logging
from concurrent.futures import Executor
from typing import Any, Final

import spf

from postbus.core.clock import Clock
from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.dns import BlockingResolver, DnsAnswer, MxRecord, RecordType, Resolver, TxtRecord
from postbusd.filter.spf import SpfIdentity, SpfRequest, SpfResult

log = logging.getLogger(__name__)

MAX_RECORD_OCTETS: Final = 4096
"""Of a TXT record. RFC 7208 §3.4 advises 512 for the whole answer; pyspf expands macros in quadratic time, and a record
may have 65,535: twenty seconds of work for each message."""
LIBRARY_FAULTS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What pyspf raises on input that nobody has thought of: the record is at fault, not the client."""


class _Query(spf.query):  # type: ignore[misc]
    """One evaluation with its limits of terms and void look-ups (RFC 7208 §4.6.4), which pyspf counts."""

    def __init__(self, request: SpfRequest, resolver: BlockingResolver, receiver: str) -> None:
        is_helo = request.identity is SpfIdentity.HELO
        reverse_path = "" if is_helo else f"{request.local_part}@{request.domain}"
        helo = request.domain if is_helo else request.helo
        super().__init__(i=request.client_address, s=reverse_path, h=helo, receiver=receiver, strict=True)
        self._resolver = resolver

    # The library's signature; its values are lists of str, (int, str) or tuples of bytes, by query type.
    def dns(self, name: Any, qtype: str, cnames: Any = None, ignore_void: bool = False) -> list[Any]:
        """Values of the records; CNAMEs have been followed by the server."""
        key = (str(name).removesuffix(".").lower(), qtype)
        if key not in self.cache:
            self.cache[key] = self._ask(*key)
        found: list[Any] = self.cache[key]
        if not found and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > spf.MAX_VOID_LOOKUPS:
                raise spf.PermError(f"Void lookup limit of {spf.MAX_VOID_LOOKUPS} exceeded")
        return list(found)

    def validated_ptrs(self) -> list[str]:
        """Names of the client that lead back to it; a DNS error only costs the name (RFC 7208 §5.5)."""
        try:
            names = self.dns_ptr(self.i)[: spf.MAX_PTR]
        except spf.TempError:
            return []
        return [name for name in names if self._leads_back(name)]

    def _leads_back(self, name: str) -> bool:
        try:
            return bool(self.cidrmatch(self.dns_a(name, self.A), self.cidrmax))
        except spf.TempError:
            return False

    def _ask(self, name: str, qtype: str) -> list[Any]:
        try:
            return _to_pyspf(self._resolver.resolve(name, RecordType(qtype)))
        except MailError as error:
            if error.kind is ErrorKind.INVALID:
                return []
            raise spf.TempError("DNS") from error


def _to_pyspf(answer: DnsAnswer) -> list[Any]:
    if answer.record_type is RecordType.MX:
        return [(record.preference, record.exchange) for record in answer.records if isinstance(record, MxRecord)]
    if answer.record_type is RecordType.TXT:
        texts = [record.strings for record in answer.records if isinstance(record, TxtRecord)]
        return [strings for strings in texts if _is_bearable(b"".join(strings))]
    return list(answer.hosts())


def _is_bearable(text: bytes) -> bool:
    """Whether pyspf may read a record; a longer SPF record is an error of its domain. Raises spf.PermError."""
    if len(text) <= MAX_RECORD_OCTETS:
        return True
    if text[:6].lower() == b"v=spf1":
        raise spf.PermError("SPF record is too long")
    return False


class PyspfEvaluator:
    """`SpfEvaluator` by pyspf."""

    def __init__(self, resolver: Resolver, executor: Executor, clock: Clock, receiver: str) -> None:
        """`receiver` is our host name, for the macro `%{r}`."""
        self._resolver = resolver
        self._executor = executor
        self._clock = clock
        self._receiver = receiver

    async def evaluate(self, request: SpfRequest, seconds: float) -> SpfResult:
        """The result; TEMPERROR when a look-up fails or `seconds` have passed in one."""
        loop = asyncio.get_running_loop()
        resolver = BlockingResolver(self._resolver, loop, self._clock.monotonic() + seconds, self._clock)
        return await loop.run_in_executor(self._executor, self._run, request, resolver)

    def _run(self, request: SpfRequest, resolver: BlockingResolver) -> SpfResult:
        try:
            result, _code, _explanation = _Query(request, resolver, self._receiver).check()
        except spf.PermError:
            return SpfResult.PERMERROR
        except spf.TempError:
            return SpfResult.TEMPERROR
        except LIBRARY_FAULTS:
            log.warning("filter.spf.library_fault", extra={"domain": request.domain}, exc_info=True)
            return SpfResult.PERMERROR
        return SpfResult(result)
