"""What the tests of this folder share."""

from collections.abc import Iterator

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from postbus.testing.admin_rest import make_http


@pytest.fixture(scope="module")
def http() -> Iterator[TestClient[Litestar]]:
    with make_http() as http:
        yield http
