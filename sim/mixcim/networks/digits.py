"""The handwritten digits that the shipped network is trained and tested on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

#: The shipped network, quantised ONNX (QDQ).
DIGITS_RESNET = Path(__file__).with_name("digits_resnet.onnx")
#: Number of test images; the rest of the 1797 is for training and calibration.
TEST_IMAGES = 360
_SEED = 0


def digits_data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images, training labels, test images, test labels, always the same split.

    Images: float32 (N, 1, 8, 8), pixels 0..16 scaled to 0..1. Labels: int64 (N,), 0..9. There are 360 test images in
    random order, so any prefix is a fair sample. Needs scikit-learn, which has the pictures in it.
    """
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    images = (np.asarray(pixels, np.float32) / np.float32(16)).reshape(-1, 1, 8, 8)
    labels = np.asarray(digits, np.int64)
    order = np.random.default_rng(_SEED).permutation(len(images))
    test, train = order[:TEST_IMAGES], order[TEST_IMAGES:]
    return images[train], labels[train], images[test], labels[test]
