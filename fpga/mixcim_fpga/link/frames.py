"""Payloads of the streams and ports between the blocks of the host link.

```
 rx --UartReceiver--byte--> FrameReceiver --request--> Session --job--> BusMaster --AXI4-Lite--> processor
                                 |                        |                |  |
                                 '--words--> request buffer ----words------'  |
 tx <--UartTransmitter--byte-- FrameTransmitter <--reply--'  reply buffer <---' (words read)
                                      '---------words-----------'
```
"""

from __future__ import annotations

from typing import Any

from amaranth.lib import data
from amaranth.lib.crc import catalog

from ..protocol import GROUP_WORDS, MAX_WORDS, REPLY_FIELDS, REQUEST_FIELDS, WINDOW

#: A request as it came: the bits are those of the bytes behind the first one, first byte lowest.
HEADER_LAYOUT = data.StructLayout(REQUEST_FIELDS)
REPLY_LAYOUT = data.StructLayout(REPLY_FIELDS)
#: `bank`: half of the request buffer with the payload; `garbled`: something came that was no frame, and no header is.
REQUEST_LAYOUT = data.StructLayout({"header": HEADER_LAYOUT, "bank": range(WINDOW), "garbled": 1})
WORD_INDEX = range(MAX_WORDS)  #: number of a word in a frame
BURST_WORDS = MAX_WORDS * GROUP_WORDS  #: words that a frame can write, at most
#: Address in the request buffer: word of the frame, then bank.
BUFFER_ADDRESS = range(MAX_WORDS * WINDOW)


def frame_crc() -> Any:
    """amaranth.lib.crc's component for the CRC of frames, which takes a byte a cycle."""
    return catalog.CRC32_ETHERNET(8).create()
