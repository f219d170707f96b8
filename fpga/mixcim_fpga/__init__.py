"""mixcim on an FPGA: the host link and what the boards' tops instantiate."""
