"""Compiler: network file -> `Network` (importers, quantiser) -> placement -> `Program`."""
