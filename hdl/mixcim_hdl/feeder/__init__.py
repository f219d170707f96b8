"""Input feeder: windows of a layer in im2col order, aligned to integers where they are floating point, as vectors."""
