"""Networks that come with mixcim, so that every example runs without downloads.

`digits_resnet.onnx`: a residual CNN for scikit-learn's 8 x 8 handwritten digits, quantised (QDQ).
scripts/train_digits.py makes it; digits.py has the data that it was trained and calibrated on.
"""
