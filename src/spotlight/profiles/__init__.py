"""Profiles: measurements of instance labels, one row a nucleus."""

from spotlight.profiles.measure import FEATURES, measure

__all__ = ["FEATURES", "measure"]
