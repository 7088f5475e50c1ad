"""Profiles: measurements of instance labels, one row a nucleus."""

from spotlight.profiles.measure import FEATURES, FULL_FEATURES, INTENSITIES, ProfileSettings, measure
from spotlight.profiles.table import write_table

__all__ = ["FEATURES", "FULL_FEATURES", "INTENSITIES", "ProfileSettings", "measure", "write_table"]
