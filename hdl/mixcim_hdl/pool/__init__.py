"""Pooling in float32: what layers without weights do with floating-point inputs, past the compute units."""
