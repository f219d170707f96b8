"""The host link's contract: frames over a UART. Plain Python, read by hardware, host driver and docs.

Bytes are 8N1; numbers are little endian. The host sends requests, the device answers each with one reply:

```
request  REQUEST_SYNC  sequence  command  step   count (2)  address (4)  payload of writes (4 count)  CRC-32 (4)
reply    REPLY_SYNC    sequence  status   last   count (2)               payload (4 count)            CRC-32 (4)
```

The CRC is that of Ethernet and zlib, over every byte before it. `count` is in words of 32 bits, at most MAX_WORDS.
32 bits and not 16: of the garbled frames that a noisy cable makes, a CRC-16 lets one in 65,536 pass, a CRC-32 one in
4,000,000,000; and every error burst of up to 32 bits, and every three wrong bits, of a frame are found.

A session begins with IDENTIFY, which the device always executes. After it, the device executes a request once, and
only in order: `last` is the sequence number of the request that it executed last, and it executes `last + 1` (modulo
256) alone. A repeated `last` is answered again by the kept reply, and not executed again: so reads and writes of FIFOs
may be retried. Every other number is refused (Status.OUT_OF_ORDER); the reply's `last` tells where to go on. After a
BUS_ERROR, requests are refused (Status.HALTED) until the next IDENTIFY, so that no write behind a failed one happens,
and so an answered request says that all requests before it went well. WINDOW requests may be unanswered at a time.

The payload of WRITE_SPARSE is groups: a word whose bits say which of the next GROUP_WORDS words to write are not 0,
lowest bit first, then those of them in order. So a picture of 3 channels in activation words of 16 takes a quarter of
the time.

The receiver drops a frame whose bytes do not come, have no stop bit or do not fit their CRC. It then ignores the line
until that has been quiet for GAP_SECONDS, and answers once with GARBLED; so nothing inside a damaged frame is ever
taken for the begin of another. A host that gets no sound reply keeps quiet for longer than that and asks again.
"""

from __future__ import annotations

import enum

LINK_VERSION = 1  #: of this file; IDENTIFY and its reply have the same form in every version
LINK_IDENTIFICATION = 0x4E4C584D  #: "MXLN", the first word of IDENTIFY's reply

DEFAULT_BAUD = 1_000_000  #: of boards and driver; USB adapters and 8 to 100 MHz clocks make it exactly, or nearly

REQUEST_SYNC = 0xA6  #: first byte of a request
REPLY_SYNC = 0x59  #: first byte of a reply
MAX_WORDS = 256  #: words in one frame: a kilobyte, beside which the other bytes of a frame are 1.4 %
GROUP_WORDS = 32  #: words that a group of WRITE_SPARSE stands for
WINDOW = 2  #: requests that may be unanswered: one on the line while the one before it is executed and answered
GAP_SECONDS = 0.01  #: quiet time that ends a frame; USB adapters pause for some milliseconds within one

#: Fields behind the first byte and their bits, low first.
REQUEST_FIELDS = {"sequence": 8, "command": 8, "step": 8, "count": 16, "address": 32}
REPLY_FIELDS = {"sequence": 8, "status": 8, "last": 8, "count": 16}
REQUEST_HEADER = 1 + sum(REQUEST_FIELDS.values()) // 8  #: bytes before the payload
REPLY_HEADER = 1 + sum(REPLY_FIELDS.values()) // 8
CRC_BYTES = 4
SEQUENCES = 256  #: sequence numbers are modulo this
LARGEST_STEP = 255  #: of a burst: bytes from one word's address to the next


class Command(enum.IntEnum):
    """What a request asks for."""

    IDENTIFY = 1  #: begin a session; replies IDENTITY_WORDS; `address` is any number, which comes back
    WRITE = 2  #: write the payload's words to address, address + step, ...; step 0: all to one FIFO
    READ = 3  #: read `count` words from address, address + step, ...
    WAIT = 4  #: until the interrupt is up, at most `address` clock cycles; replies WAIT_WORDS
    WRITE_SPARSE = 5  #: WRITE of words of which many are 0; `count`: of the payload, which is made of groups


class Status(enum.IntEnum):
    """What became of a request."""

    DONE = 0  #: executed
    BUS_ERROR = 1  #: the host port refused a word; nothing behind it was done; replies BUS_ERROR_WORDS
    OUT_OF_ORDER = 2  #: not executed: it is neither the last one nor the one after it
    HALTED = 3  #: not executed: the device was reset, or a request before it failed; IDENTIFY begins anew
    GARBLED = 4  #: not executed: what came was no sound frame; the sequence number of the reply means nothing
    ILLEGAL = 5  #: not executed: unknown command, or too many words


#: Words of IDENTIFY's reply. `nonce`: `address` of the request. `limits`: MAX_WORDS (15:0), WINDOW (31:16).
IDENTITY_WORDS = (
    "identification",
    "nonce",
    "link_version",
    "contract_version",
    "fingerprint",
    "clock_frequency",
    "limits",
)
WAIT_WORDS = ("cycles", "interrupt")  #: clock cycles waited; 1 if the interrupt is up
BUS_ERROR_WORDS = ("word", "response")  #: number of the refused word in the burst; AXI response (2 SLVERR, 3 DECERR)
