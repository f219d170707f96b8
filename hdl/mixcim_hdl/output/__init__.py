"""Output pipeline: bias, float32 scale, rounding, residual, clamp."""
