"""Mail to a list reaches the users of its groups, as the groups are when it comes."""

import os
import time

from postbus.testing.installation import CLIENT_SECONDS, Platform


def holds(platform: Platform, number: int, subject: str) -> bool:
    """Whether a mailbox has the message."""
    with platform.reader(number) as client:
        client.select("INBOX", readonly=True)
        return bool(client.uid("SEARCH", "SUBJECT", f'"{subject}"')[1][0])


def wait_for(platform: Platform, number: int, subject: str) -> None:
    end = time.monotonic() + CLIENT_SECONDS
    while not holds(platform, number, subject):
        assert time.monotonic() < end, f"{subject} did not come"
        time.sleep(0.2)


def test_a_list_follows_its_groups(platform: Platform) -> None:
    label = os.urandom(4).hex()
    one, other = (address for address, _ in platform.mailboxes[:2])
    group, address = f"g-{label}", f"l-{label}@demo.example"
    platform.administer(f"groups/{group}", {"members": [one]})
    assert platform.administer(f"lists/{address}", {"groups": [group]})["groups"] == [group]

    def send(subject: str) -> None:
        platform.send(f"From: friend@example.org\r\nTo: {address}\r\nSubject: {subject}\r\n\r\nx\r\n".encode(), address)

    send(f"first {label}")
    wait_for(platform, 0, f"first {label}")
    platform.administer(f"groups/{group}", {"members": [other]})
    send(f"second {label}")
    wait_for(platform, 1, f"second {label}")
    assert not holds(platform, 0, f"second {label}")
    assert not holds(platform, 1, f"first {label}")
