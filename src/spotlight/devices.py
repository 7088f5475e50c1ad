"""Devices: which one computes, how much of its memory may be used, and errors that say there was too little.

PyTorch is imported where a device is asked for, since `init` plans a training without it.
"""

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from spotlight.errors import SpotlightError
from spotlight.quoting import quoted

if TYPE_CHECKING:
    import torch


def find_device(name: str) -> "torch.device":
    """Return the device of a name.

    Parameters
    ----------
    name : str
        "auto" (a GPU if there is one), "gpu" (any GPU that PyTorch finds), or a device as PyTorch names it: "cpu",
        "cuda", "cuda:1", "mps".

    Raises
    ------
    SpotlightError
        If there is no such device here.
    """
    import torch

    gpu = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else None
    if name == "gpu" and gpu is None:
        raise SpotlightError("device 'gpu' was asked for, but PyTorch finds no GPU here. Use 'auto' or 'cpu'.")
    try:
        device = torch.device({"auto": gpu or "cpu", "gpu": gpu or ""}.get(name, name))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SpotlightError(
            f"device {quoted(name)} cannot be used here ({error}). Use 'auto', 'gpu' or 'cpu'."
        ) from error
    return device


def has_bf16(device: "torch.device") -> bool:
    """Whether a device multiplies bfloat16 natively."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def hardware_in_words(device: "torch.device") -> str:
    """Name what computes on a device: the GPU, or the processor and how many of its threads are used."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    what = "a GPU of Apple" if device.type == "mps" else f"{threads} processor thread{'s' * (threads != 1)}"
    return f"{what} ({_processor()})"


def _processor() -> str:
    """Name of the processor; Linux alone writes it down where no program has to be run for it."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8", errors="replace").splitlines() if facts.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def memory_to_use(device: "torch.device | None" = None) -> tuple[int, str]:
    """Bytes that one step of training or staining may take, and why; without a device, on the processor."""
    if device is not None and device.type == "cuda":
        import torch

        free = torch.cuda.mem_get_info(device)[0]
        return int(0.8 * free), f"four fifths of the {free / 2**30:.0f} GiB that are free on the GPU may be used"
    try:
        half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError):  # not a Unix
        return 4 * 2**30, "4 GiB are assumed to be free, since this system does not say how much memory it has"
    return half, f"half of this machine's, {half / 2**30:.0f} GiB, may be used"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was not enough memory, on a GPU or off it."""
    torch = sys.modules.get("torch")  # without it, no error is its own
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)
