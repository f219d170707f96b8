"""Blocks of the host link: UART, frames with CRC, sequence numbers, and a master on the processor's host port."""
