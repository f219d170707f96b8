"""Cycles of programs without their data: what the RTL takes, to the cycle, without running it."""

from .prediction import Prediction, predict

__all__ = ["Prediction", "predict"]
