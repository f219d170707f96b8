"""The RTL as a fast library: Verilog through Verilator and g++, driven over its own AXI4-Lite bus."""
