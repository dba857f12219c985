"""Messages that were made to break the index of everybody else."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.indexer.conftest import World

PLAIN = b"Subject: harmless\r\n\r\nText\r\n"


@pytest.mark.parametrize(
    "message",
    [
        b"Subject: =?utf-7?q?before+2AA-after?=\r\n\r\nx\r\n",
        b"Content-Type: text/plain; charset=utf-7\r\n\r\nbefore +2AA- after\r\n",
        b"Content-Type: text/html; charset=utf-7\r\n\r\n<p>before +2AA- after</p>\r\n",
        b"Content-Type: text/html\r\n\r\n<p>before &#xd800; &#55296; &#0; &#x110000; &#99999999999; after</p>\r\n",
        b"Subject: x\r\nContent-Type: text/plain; name*=utf-7''before+2AA-after\r\n\r\nx\r\n",
        b"Subject: =?utf-16-le?q?=00=D8?= before after\r\n\r\nx\r\n",
        b"before after\xed\xa0\x80: before after \xed\xa0\x80\r\n\r\nbefore after \xed\xa0\x80\r\n",
    ],
)
async def test_text_that_is_no_unicode_stops_nobody(world: "World", message: bytes) -> None:
    hostile = await world.deliver(message)
    harmless = await world.deliver(PLAIN)
    assert await world.worker.index_due() == 2
    assert await world.worker.index_due() == 0
    assert await world.find("harmless") == [harmless]
    assert await world.find("before") == ([hostile] if b"before" in message else [])
    assert await world.index.count_documents() == 2
