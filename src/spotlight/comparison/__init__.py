"""Comparison: train several methods, evaluate them on the same stacks, and test their differences."""

from spotlight.comparison.compare import Compared, Comparison, compare, train_methods

__all__ = ["Compared", "Comparison", "compare", "train_methods"]
