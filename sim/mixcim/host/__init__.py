"""What a host does to run a program on a chip: convert inputs, load, start, wait, read, explain faults."""
