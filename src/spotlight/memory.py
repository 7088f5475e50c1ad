"""Memory: how much may be used, and whether it was wanting."""

import os

import torch


def memory_to_use(device: torch.device) -> tuple[int, str]:
    """Bytes that one step of training or staining may take, and why."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        return int(0.8 * free), f"four fifths of the {free / 2**30:.0f} GiB that are free on the GPU may be used"
    try:
        half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError):  # not a Unix
        return 4 * 2**30, "4 GiB are taken to be free, since this system does not tell how much memory it has"
    return half, f"half of this machine's, {half / 2**30:.0f} GiB, may be used"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was wanting, on a GPU or off it."""
    wanting = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return wanting or (isinstance(error, RuntimeError) and "allocate memory" in str(error))
