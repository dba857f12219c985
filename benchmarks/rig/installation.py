"""An installation for one benchmark: `./postbus up` in a temporary folder, DNS of its own, ended with the block."""

import asyncio
import contextlib
from collections.abc import Iterator

import msgspec

from postbus.testing.dns_server import LoopbackDns, running_dns
from postbus.testing.installation import Platform, short_folder, start_platform
from rig.mail import Post
from rig.usage import Parts

DOMAIN = "bench.example"
PASSWORD = "benchmark-only"  # of an installation that lives for minutes on loopback


class Rig(msgspec.Struct, frozen=True, kw_only=True):
    """What a benchmark works on."""

    platform: Platform
    parts: Parts
    post: Post
    dns: LoopbackDns
    mailboxes: tuple[str, ...]


@contextlib.contextmanager
def running_rig(
    *, mailboxes: int = 50, separate: bool = False, settings: dict[str, str] | None = None
) -> Iterator[Rig]:
    """`separate`: one process a service. `settings` are environment variables."""
    post = Post()
    with running_dns() as dns, short_folder() as folder:
        post.publish(dns)
        workers = ("--workers", "separate") if separate else ()
        platform = start_platform(folder, "--resolver", f"127.0.0.1:{dns.port}", *workers, environment=settings)
        platform.administer(f"domains/{DOMAIN}", {"incoming": True})
        names = tuple(f"u{number}@{DOMAIN}" for number in range(1, mailboxes + 1))
        for name in names:
            platform.administer(f"mailboxes/{name}", {"password": PASSWORD})
        yield Rig(platform=platform, parts=Parts(folder), post=post, dns=dns, mailboxes=names)


async def settle(seconds: float = 2.0) -> None:
    """Lets the indexer and the event log finish what the last messages brought."""
    await asyncio.sleep(seconds)
