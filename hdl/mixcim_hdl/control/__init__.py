"""Control of the processor: bus front, registers, layer controller."""
