"""Floating-point units: pipelined, one result per cycle, all of IEEE 754 in the formats of `mixcim_hdl.floating`.

Every unit takes operands each cycle and gives their result `LATENCY` clock edges later; none stalls, none is reset
between operands. Its definition is the module docstring of `mixcim_hdl.floating`, the function that a class names is in
`mixcim.model.floating`.
"""
