"""Hardware of the mixcim processor: a contract in plain Python (config, commands, program, ...) and its RTL."""
