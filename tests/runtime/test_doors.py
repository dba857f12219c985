"""By what connections are counted."""

import pytest

from postbus.runtime.doors import network_of


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        (("192.0.2.7", 4000), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 4000, 0, 0), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::9", 4000, 0, 0), "2001:db8:1:2::/64"),
        (("::ffff:192.0.2.7", 4000, 0, 0), "192.0.2.7"),
        (("fe80::1%eth0", 4000, 0, 2), "fe80::/64"),
        ("", ""),
        (None, ""),
    ],
)
def test_a_peer_is_counted_by_its_network(peer: object, network: str) -> None:
    assert network_of(peer) == network
