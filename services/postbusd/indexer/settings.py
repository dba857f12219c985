"""Settings of indexer."""

from typing import Annotated

import msgspec

from postbus.runtime.settings import field_doc


class IndexerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """POSTBUS_INDEXER_<FIELD>."""

    batch_messages: Annotated[int, field_doc("Messages indexed in one commit.")] = 200
    gather_seconds: Annotated[float, field_doc("How long messages are gathered for one commit, seconds.")] = 0.5
    commit_seconds: Annotated[
        float, field_doc("Time between two commits while mail keeps coming and no batch is full, seconds.")
    ] = 2.0
    poll_seconds: Annotated[float, field_doc("Time between looks at the queue without a wake-up, seconds.")] = 10.0
    max_attempts: Annotated[
        int, field_doc("Attempts after which a message is indexed with what could be read of it.")
    ] = 5
    tail_messages: Annotated[
        int, field_doc("Messages not yet indexed that a search reads itself; with more, it indexes them first.")
    ] = 100
    writer_heap_octets: Annotated[int, field_doc("Memory of the index writer, octets; at least 15,000,000.")] = (
        15_000_000
    )
    writer_idle_seconds: Annotated[
        float, field_doc("Time without work after which the index writer's memory is given back, seconds.")
    ] = 30.0
