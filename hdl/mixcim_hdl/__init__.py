"""Hardware of the mixcim processor: a pure-Python contract (config, formats, program, registers) and its RTL in Amaranth."""
