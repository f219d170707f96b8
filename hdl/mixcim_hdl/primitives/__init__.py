"""Leaf macros that every block builds on: in Verilog each is one parameterised module, to be replaced by a foundry's own."""
