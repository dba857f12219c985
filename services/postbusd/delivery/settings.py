"""Settings of delivery."""

from typing import Annotated

import msgspec

from postbus.runtime.settings import field_doc


class DeliverySettings(msgspec.Struct, frozen=True, kw_only=True):
    """POSTBUS_DELIVERY_<FIELD>."""

    batch_messages: Annotated[int, field_doc("Messages taken from the bus at once and stored in one round trip.")] = 64
    poison_attempts: Annotated[
        int, field_doc("Attempts after which a message that fails for itself becomes a dead letter.")
    ] = 5
    relay_seconds: Annotated[float, field_doc("Pause between looks at an empty outbox, seconds.")] = 2.0
    trim_seconds: Annotated[float, field_doc("Time between trims of the MAIL stream, seconds.")] = 600.0
    history_days: Annotated[
        int, field_doc("Days that operation keys and change rows are kept; more than the replay window of 48 h.")
    ] = 60
    mx_port: Annotated[
        int, field_doc("Port of remote MXs, other than 25 for tests only; unused until mail to other hosts comes.")
    ] = 25
    egress_allow: Annotated[
        tuple[str, ...],
        field_doc("Private and loopback networks that mail may be sent to; unused until mail to other hosts comes."),
    ] = ()
