"""Tiny-digital: exact multiply-accumulate lanes for depthwise, pooling and few-input kernels."""
