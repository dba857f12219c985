"""What services ask of each other: one module a service, values and a port (Protocol) each.

The service implements its port; `postbus.rpc` carries it over gRPC; within one process it is called directly. Every
method takes one request value and returns one reply value, and raises `postbus.core.errors.MailError` only. The values
mirror the messages of proto/postbus/<service>/v1 field by field (a test compares them). Values are open: a reader must
bear fields and enumeration members that it does not know (promise 9), so new fields have defaults.
"""

import msgspec


class Empty(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing to say (postbus.common.v1.Empty)."""
