"""When a failed row of index_pending is due again."""

FIRST_RETRY_MS = 2_000
LAST_RETRY_MS = 3_600_000


def retry_delay_ms(attempt: int) -> int:
    """Doubles with every attempt (the first is 1), up to an hour."""
    return int(min(FIRST_RETRY_MS << min(attempt - 1, 20), LAST_RETRY_MS))
