"""cubic, imported without its remark that there is no GPU library."""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="CuPy or CuCIM is not installed")
    from cubic.metrics.average_precision import average_precision, compute_matches

__all__ = ["average_precision", "compute_matches"]
