"""Comparison: train several methods, evaluate them on the same stacks, and test their differences."""

from spotlight.comparison.compare import Compared, Comparison, compare, train_methods
from spotlight.comparison.few_shot import FewShot, FewShotSettings, few_shot

__all__ = ["Compared", "Comparison", "FewShot", "FewShotSettings", "compare", "few_shot", "train_methods"]
