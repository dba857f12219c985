"""What a wrong password costs at the mailbox of a large group: `python benchmarks/group_login.py [--members N]`.

CPU of this process, hashing included, for each of many wrong passwords from as many networks; members have passwords of
their own. The members' tags decide how many of them are tried (architecture §6), at most eight.
"""

import argparse
import asyncio
import statistics
import time

from prometheus_client import CollectorRegistry

from postbus.contracts.app_passwords import Access
from postbus.contracts.logins import AuthenticateRequest
from postbus.contracts.owners import Owner, OwnerKind
from postbus.core.clock import SystemClock
from postbus.core.errors import MailError
from postbus.testing.directory import KEYS
from postbus.testing.directory_sites import Site
from postbus.testing.directory_tables import StoredPassword
from postbusd.directory.adapters.argon2 import Argon2Hasher
from postbusd.directory.login import PasswordAuthenticator

ADDRESS = "team@example.org"
ROUNDS = 150


async def measure(members: int) -> list[float]:
    """Seconds of CPU of each attempt, in order."""
    registry = CollectorRegistry()
    hasher = Argon2Hasher(threads=2, queue_logins=64, registry=registry)
    site = Site("example.org")
    names = [f"user{number}" for number in range(members)]
    secret_hash = await hasher.hash("nobody has this one")
    for name in names:
        site.put_user(name)
        site.directory.passwords[name] = StoredPassword(secret_hash=secret_hash, tag=KEYS.tag(f"secret of {name}"))
    site.put_group("team", *names)
    site.put_mailbox(ADDRESS, owner=Owner(kind=OwnerKind.GROUP, name="team"))
    authenticator = PasswordAuthenticator(site.directory, hasher, KEYS, SystemClock(), registry)
    spent = []
    for number in range(ROUNDS):
        authenticator._throttle = type(authenticator._throttle)()  # each is the first of its account
        request = AuthenticateRequest(
            username=ADDRESS, password=f"guess {number}", access=Access.IMAP, client_address=f"192.0.2.{number}"
        )
        began = time.process_time()
        try:
            await authenticator.authenticate(request)
        except MailError:
            spent.append(time.process_time() - began)
    hasher.close()
    return sorted(spent)


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=500)
    members = parser.parse_args().members
    spent = asyncio.run(measure(members))
    median, p95 = statistics.median(spent), spent[int(len(spent) * 0.95)]
    print(
        f"wrong password at the mailbox of {members} members: CPU median {median * 1000:.0f} ms, "
        f"p95 {p95 * 1000:.0f} ms, most {spent[-1] * 1000:.0f} ms ({len(spent)} attempts)"
    )


if __name__ == "__main__":
    main()
