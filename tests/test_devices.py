"""Devices by name, the same everywhere."""

import pytest
import torch

from spotlight import SpotlightError
from spotlight.devices import find_device, is_out_of_memory


def test_names_of_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert find_device("cpu") == find_device("auto") == torch.device("cpu")
    with pytest.raises(SpotlightError, match="finds no GPU here. Use 'auto' or 'cpu'"):
        find_device("gpu")
    for wrong in ("nonsense", "cuda:99", ""):
        with pytest.raises(SpotlightError, match=f"device '{wrong}' cannot be used here .* Use 'auto', 'gpu' or 'cpu'"):
            find_device(wrong)


def test_errors_of_memory() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    assert not is_out_of_memory(RuntimeError("shapes differ"))
