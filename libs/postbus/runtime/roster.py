"""The eight services by name: light enough for the supervisor, which must not load what the services need."""

SERVICES = (
    "directory",
    "dns-provisioner",
    "filter",
    "delivery",
    "indexer",
    "smtp-edge",
    "imap-gateway",
    "admin-api",
)
"""In the order in which one process starts them."""

DRAIN_STAGES = (
    frozenset({"smtp-edge", "imap-gateway", "admin-api"}),
    frozenset({"delivery", "indexer"}),
    frozenset({"filter"}),
    frozenset({"directory", "dns-provisioner"}),
)
"""Who is drained after whom: nobody without what it needs to finish its work."""
