"""cubic, imported without its remark that there is no GPU library."""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="CuPy or CuCIM is not installed")
    from cubic.metrics import pcc, psnr

__all__ = ["pcc", "psnr"]
