"""What both roads to a port share: an unknown exception becomes INTERNAL with an incident id, logged once, here."""

import logging
import os
from typing import Any

from postbus.core.errors import ErrorKind, MailError

log = logging.getLogger(__name__)

NO_ANSWER = "gave no answer in time"
"""Stands behind the name of a service."""


async def invoke(service: str, name: str, implementation: object, request: Any) -> Any:
    """Calls `implementation.name(request)`. Raises MailError only (and CancelledError)."""
    try:
        return await getattr(implementation, name)(request)
    except MailError:
        raise
    except Exception as error:
        incident = os.urandom(6).hex()
        log.exception("rpc.method.failed", extra={"rpc_service": service, "rpc_method": name, "incident": incident})
        raise MailError(ErrorKind.INTERNAL, f"incident {incident}") from error
