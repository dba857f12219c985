"""From results and score to the verdict: one place, in order of weight."""

import msgspec

from postbus.contracts.filter import Verdict
from postbus.contracts.policy import DmarcReject
from postbus.dmarc.evaluate import Evaluation, Result
from postbus.dmarc.record import Policy
from postbus.spam.checks import WELCOME, SpamScore


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict with what the client is told when it is REJECT."""

    verdict: Verdict
    reply_text: str = ""
    reply_enhanced: str = ""


def decide(score: SpamScore, dmarc: Evaluation | None, dmarc_reject: DmarcReject) -> Decision:
    """DMARC's reject, then quarantine by DMARC (but not of who is welcome) or score, else accept; `dmarc` is None for
    submissions."""
    wanted = dmarc.disposition if dmarc is not None and dmarc.result is Result.FAIL else Policy.NONE
    if dmarc is not None and wanted is Policy.REJECT and dmarc_reject is DmarcReject.REJECT:
        return Decision(
            verdict=Verdict.REJECT,
            reply_text=f"Not authenticated: rejected by the DMARC policy of {dmarc.policy_domain}",
            reply_enhanced="5.7.1",
        )
    if wanted is Policy.QUARANTINE and any(hit.name == WELCOME for hit in score.tests):
        wanted = Policy.NONE
    if wanted is not Policy.NONE or score.is_spam:
        return Decision(verdict=Verdict.QUARANTINE)
    return Decision(verdict=Verdict.ACCEPT)
