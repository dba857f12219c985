"""Changes of a session while its database connections are cut (architecture §4): OK means once, NO means never."""

import asyncio
import contextlib
import imaplib
import re
from typing import Any

import asyncpg

from postbus.runtime.embedded import read_secret
from postbus.runtime.layout import layout_of
from postbus.testing.installation import Platform

MESSAGES = 40
CUT_SECONDS = 0.25
"""Seldom enough that a repetition gets through before the session gives up."""
CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'imap-gateway' AND state = 'active'
"""
"""Only those at work: it shall hit statements, not connections at rest."""


@contextlib.asynccontextmanager
async def cut_connections(platform: Platform, seconds: float) -> Any:
    """Ends the gateway's database connections every `seconds`, in the middle of what they do."""
    layout = layout_of(platform.data_dir, {})
    superuser = await asyncpg.connect(
        host=str(layout.run / "pg"),
        database="postbus",
        user="postgres",
        password=read_secret(layout.secrets, "postgres-superuser"),
    )

    async def cut() -> None:
        while True:
            await superuser.execute(CUT)
            await asyncio.sleep(seconds)

    task = asyncio.create_task(cut())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await superuser.close()


def append_all(platform: Platform, run: str) -> dict[str, list[str]]:
    """What was said to each APPEND: OK, NO, or BYE (the connection's end)."""
    said: dict[str, list[str]] = {"OK": [], "NO": [], "BYE": []}
    number = 0
    while number < MESSAGES:
        try:
            with platform.reader() as client:
                while number < MESSAGES:
                    name = f"{run}-{number}"
                    number += 1
                    said["BYE"].append(name)  # until something else is known
                    answer, _ = client.append("INBOX", "", "", f"Subject: {name}\r\n\r\nText\r\n".encode())
                    said["BYE"].remove(name)
                    said[answer].append(name)
        except (imaplib.IMAP4.error, OSError):
            continue
    return said


def stored(platform: Platform, run: str) -> list[str]:
    with platform.reader() as client:
        client.select("INBOX", readonly=True)
        answers: list[Any] = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
    texts = b" ".join(answer[1] for answer in answers if isinstance(answer, tuple))
    return [match.decode() for match in re.findall(rb"%b-[0-9]+" % run.encode(), texts)]


async def test_appends_say_the_truth_while_connections_are_cut(platform: Platform) -> None:
    async with cut_connections(platform, CUT_SECONDS):
        said = await asyncio.to_thread(append_all, platform, "cut")
    found = await asyncio.to_thread(stored, platform, "cut")
    assert len(found) == len(set(found)), "a double"
    assert set(said["OK"]) <= set(found), "OK, but lost"
    assert not set(said["NO"]) & set(found), "NO, but stored"
    assert len(said["OK"]) > MESSAGES / 2
