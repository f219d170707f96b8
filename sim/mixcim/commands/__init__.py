"""Sub-commands of `mixcim`, one file each; shared options, inputs, tables and progress bars beside them."""
