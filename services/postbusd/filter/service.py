"""The filter's port: judges connections and messages. It looks, scores and reports; smtp-edge acts."""

import asyncio
import logging
import time
from typing import Final

from postbus.contracts.filter import (
    CheckConnectionReply,
    CheckConnectionRequest,
    CheckMessageReply,
    CheckMessageRequest,
    ConnectionFilter,
)
from postbus.contracts.policy import DnsblMode
from postbus.runtime.octets import OctetBudget
from postbus.runtime.policy import PolicyWatch
from postbus.spam.checks import SpamScore, judge
from postbus.spam.headers import format_spam_headers
from postbus.spam.rules.sources import RuleSource
from postbus.spam.scores import SCORES
from postbus.spam.view import Authentication, AuthorAddress, ListHit, MessageView
from postbusd.filter.authres import AuthenticationReport, format_results
from postbusd.filter.checks import CheckInput, CheckResults, MessageChecks
from postbusd.filter.custom_rules import CustomRules
from postbusd.filter.dkim import DkimResult
from postbusd.filter.dnsbl import name_test
from postbusd.filter.hops import AlternateHosts, Hop
from postbusd.filter.metrics import FilterMetrics
from postbusd.filter.reader import LoadedMessage, MessageReader
from postbusd.filter.senders import find_senders
from postbusd.filter.settings import FilterSettings
from postbusd.filter.verdict import Decision, decide
from postbusd.filter.view import (
    find_author_domain,
    gather_text,
    has_forged_results,
    list_authors,
    list_fields,
    take_apart,
)

MAX_CONTENT_OCTETS: Final = 160 * 1024 * 1024
"""Of large messages that are judged at a time: a message is in memory as a whole meanwhile. The others wait."""

log = logging.getLogger(__name__)


class FilterService:
    """Implements `postbus.contracts.filter.Filter`."""

    def __init__(  # noqa: PLR0913 (its parts)
        self,
        *,
        settings: FilterSettings,
        mail_host: str,
        reader: MessageReader,
        checks: MessageChecks,
        connections: ConnectionFilter,
        alternates: AlternateHosts,
        metrics: FilterMetrics,
        policy: PolicyWatch,
        rules: CustomRules,
    ) -> None:
        """`mail_host` is our authserv-id (RFC 8601 §2.5)."""
        self._settings = settings
        self._mail_host = mail_host
        self._reader = reader
        self._checks = checks
        self._connections = connections
        self._alternates = alternates
        self._metrics = metrics
        self._policy = policy
        self._rules = rules
        self._budget = OctetBudget(MAX_CONTENT_OCTETS)

    async def check_connection(self, request: CheckConnectionRequest) -> CheckConnectionReply:
        """Judges the client's address."""
        return await self._connections.check_connection(request)

    async def check_message(self, request: CheckMessageRequest) -> CheckMessageReply:
        """Judges a message. Raises MailError only for its octets: as the blob store, INVALID for a foreign scan."""
        async with self._budget.hold(request.size_octets):
            return await self._check_message(request)

    async def _check_message(self, request: CheckMessageRequest) -> CheckMessageReply:
        started = time.perf_counter()
        message = await self._reader.read(request)
        authors = list_authors(message.scan)
        author_domain = find_author_domain(authors)
        results = None
        if not request.authenticated_as:
            source = await self._find_source(request, message)
            results = await self._checks.run(self._make_input(request, message, author_domain, source))
        policy = self._policy.policy
        score = await self._score(request, message, self._make_view(request, message, authors, results))
        decision = decide(score, results.dmarc if results is not None else None, policy.dmarc_reject)
        prefix = format_results(self._make_report(request, results, author_domain)) + format_spam_headers(score)
        self._metrics.messages.labels(decision.verdict.value).inc()
        self._metrics.message_seconds.observe(time.perf_counter() - started)
        reply = _make_reply(score, decision, results, author_domain, prefix)
        _log_reply(request, reply)
        return reply

    async def _score(self, request: CheckMessageRequest, message: LoadedMessage, view: MessageView) -> SpamScore:
        required, runner = self._policy.policy.required_score, self._rules.runner
        scores = {**SCORES, **runner.rules.scores} if runner.rules.scores else SCORES
        score = judge(view, required=required, scores=scores)
        if view.submitted or not runner.rules.rules:
            return score
        source = RuleSource(message.content, message.scan, request.reverse_path)
        known = {hit.name: 1.0 for hit in score.tests}
        found = await asyncio.to_thread(runner.run, source, known)
        return judge(view, required=required, scores=scores, found=found)

    def _make_view(
        self,
        request: CheckMessageRequest,
        message: LoadedMessage,
        authors: tuple[AuthorAddress, ...],
        results: CheckResults | None,
    ) -> MessageView:
        content, scan = message.content, message.scan
        return MessageView(
            fields=list_fields(content, scan),
            authors=authors,
            text=gather_text(content, scan),
            authentication=_summarize(results) if results is not None else Authentication(),
            forged_results=has_forged_results(content, scan, self._mail_host),
            submitted=bool(request.authenticated_as),
            client_confirmed=results.client_confirmed if results is not None else True,
            helo=request.helo,
            dnsbl_hits=tuple(
                ListHit(name=name_test(each), score=each.score, detail=each.zone) for each in results.dnsbls
            )
            if results is not None
            else (),
            senders=find_senders(request.reverse_path, authors, self._policy.policy),
            sent_ms=scan.sent_ms,
            received_ms=message.received_ms,
        )

    async def _find_source(self, request: CheckMessageRequest, message: LoadedMessage) -> Hop:
        entries = self._policy.alternate_mx
        client = Hop(request.client_address, request.helo)
        if not entries:
            return client
        received = [value for name, value in list_fields(message.content, message.scan) if name == "received"]
        return await self._alternates.find_source(client, received, entries)

    def _make_input(
        self, request: CheckMessageRequest, message: LoadedMessage, author_domain: str, source: Hop
    ) -> CheckInput:
        direct = source.address == request.client_address
        dnsbls = self._policy.policy.dnsbls
        return CheckInput(
            queue_id=request.queue_id,
            client_address=source.address,
            client_name=request.client_name if direct else "",
            helo=source.helo,
            reverse_path=request.reverse_path,
            message=take_apart(message.content, message.scan),
            author_domain=author_domain,
            # Who stands on a list that refuses was refused, unless an alternate MX took the mail.
            dnsbls=tuple(each for each in dnsbls if not direct or each.mode is DnsblMode.SCORE),
        )

    def _make_report(
        self, request: CheckMessageRequest, results: CheckResults | None, author_domain: str
    ) -> AuthenticationReport:
        if results is None:
            login = request.authenticated_as if self._settings.show_login else ""
            return AuthenticationReport(authserv_id=self._mail_host, login=login)
        return AuthenticationReport(
            authserv_id=self._mail_host,
            reverse_path=request.reverse_path,
            spf=results.spf,
            dkim=results.dkim,
            dmarc=results.dmarc,
            author_domain=author_domain,
        )


def _summarize(results: CheckResults) -> Authentication:
    aligned = {identifier.domain for identifier in results.dmarc.aligned}
    return Authentication(
        spf=results.spf.result.value,
        dkim=results.dkim_summary,
        dkim_author=any(item.result is DkimResult.PASS and item.domain in aligned for item in results.dkim),
        dmarc=results.dmarc.result.value,
        dmarc_policy=results.dmarc.policy.value if results.dmarc.policy is not None else "none",
    )


def _make_reply(
    score: SpamScore, decision: Decision, results: CheckResults | None, author_domain: str, prefix: bytes
) -> CheckMessageReply:
    return CheckMessageReply(
        verdict=decision.verdict,
        score=score.score,
        required=score.required,
        tests=score.tests,
        prefix=prefix,
        reply_text=decision.reply_text,
        reply_enhanced=decision.reply_enhanced,
        spf=results.spf.result.value if results is not None else "none",
        dkim=results.dkim_summary if results is not None else "none",
        dmarc=results.dmarc.result.value if results is not None else "none",
        author_domain=author_domain,
    )


def _log_reply(request: CheckMessageRequest, reply: CheckMessageReply) -> None:
    log.info(
        "filter.message.judged",
        extra={
            "queue_id": request.queue_id,
            "verdict": reply.verdict.value,
            "score": reply.score,
            "spf": reply.spf,
            "dkim": reply.dkim,
            "dmarc": reply.dmarc,
            "domain": reply.author_domain,
            "tests": ",".join(hit.name for hit in reply.tests),
        },
    )
