"""What real inputs of a network must be, for calibration or to be quantised."""

from __future__ import annotations

import numpy as np

from ..errors import MixcimError


def check_inputs(values: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """`values` if they are finite float32 (N, *shape) with N > 0; MixcimError, which calls them `name`, if not."""
    values = np.asarray(values)
    if values.ndim != len(shape) + 1 or values.shape[1:] != shape or len(values) == 0:
        raise MixcimError(
            f"{name} data has shape {values.shape}; the network wants (N, {', '.join(map(str, shape))}), N > 0"
        )
    if values.dtype != np.float32:
        raise MixcimError(f"{name} data is {values.dtype}; convert it to float32, normalised as the network expects it")
    if not np.all(np.isfinite(values)):
        raise MixcimError(f"{name} data has NaN or infinite values; remove them")
    return values
