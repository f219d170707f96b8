"""SRAM-CIM: mux compute units with stored pair sums, adder tree, bit-serial inputs."""
