"""Promises 1 and 4 when the disk of one part is full: the bus's, the database's; and when there is room again.

Both have a disk of their own here. Clients are told to wait, nothing that was promised is lost, and everything goes on
by itself once there is room.
"""

import os
import time
from collections.abc import Iterator

import pytest

from postbus.testing.books import assert_books_agree
from postbus.testing.installation import (
    DISK_OCTETS,
    Platform,
    postbus,
    resize_disk,
    short_folder,
    small_disk,
    start_platform,
)
from postbus.testing.probes import wait_ready
from postbus.testing.traffic import Road, Traffic, assert_stored_once

FULL_SECONDS = 3.0


@pytest.fixture(scope="module")
def platform_on_disks() -> Iterator[Platform]:
    with short_folder() as folder:
        folder.mkdir(mode=0o711)
        with small_disk(folder / "nats"), small_disk(folder / "postgres"):
            if not os.path.ismount(folder / "nats"):
                pytest.skip("only root can mount a small disk")
            try:
                yield start_platform(folder)
            finally:
                postbus("down", "--data-dir", str(folder), check=False)


@pytest.mark.parametrize("part", ["nats", "postgres"])
def test_a_full_disk(platform_on_disks: Platform, part: str) -> None:
    platform = platform_on_disks
    wait_ready(platform)
    first, second = (address for address, _ in platform.mailboxes[:2])
    traffic = Traffic(platform, [Road(recipient=first), Road(recipient=first), Road(recipient=second, owner=0)])
    with traffic.flowing():
        traffic.wait_more()
        resize_disk(platform.data_dir / part, 0)
        time.sleep(FULL_SECONDS)
        resize_disk(platform.data_dir / part, DISK_OCTETS)
        traffic.wait_more()
    traffic.assert_only_delayed()
    for owner, recipient in enumerate((first, second)):
        assert_stored_once(platform, traffic.owned(recipient), owner)
    assert_books_agree(platform)
