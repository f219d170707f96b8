"""What every block may use: leaf macros, in Verilog one parameterised module each for a foundry's own; and queues."""
