"""Leaf macros under every block: in Verilog one parameterised module each, to be replaced by a foundry's own."""
