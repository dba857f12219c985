"""When a copy is tried again."""

import random

SPREAD = 0.2
"""Delays are moved by up to this part, so that what failed together does not come back together."""


def next_delay_seconds(delays: tuple[float, ...], attempts: int, chance: random.Random) -> float:
    """After `attempts` attempts (at least one); the last delay goes on for ever."""
    delay = delays[min(attempts, len(delays)) - 1]
    return delay * (1 + SPREAD * (2 * chance.random() - 1))
