"""Light My Cells: modalities, its metrics, its table and its submission layout."""

import numpy as np
import pytest

from spotlight.images import Stack, modality_of


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("BF", "brightfield"),
        ("bf_z3", "brightfield"),
        ("Bright field 2", "brightfield"),
        ("BrightField", "brightfield"),
        ("TransmittedLight", "brightfield"),
        ("Transmitted DIC", "dic"),
        ("image_12_PC_z4", "phase"),
        ("Ph2", "phase"),
        ("PhaseContrast", "phase"),
        ("phase contrast", "phase"),
        ("TL-DIC", "dic"),
        ("Nomarski", "dic"),
        ("Differential Interference Contrast", "dic"),
        ("BF or DIC", None),
        ("DNA", None),
        ("Metaphase marker", None),
        ("PCNA", None),
        ("", None),
    ],
)
def test_modalities_of_channel_names(name: str, modality: str | None) -> None:
    assert modality_of(name) == modality


def test_the_modality_of_a_stack_is_that_of_its_only_transmitted_light() -> None:
    def stack(*channels: str) -> Stack:
        return Stack(np.zeros((len(channels) or 2, 4, 4)), "CYX", channels=channels)

    assert modality_of(stack("DNA", "Phase")) == "phase"
    assert modality_of(stack("BF", "Brightfield 2")) == "brightfield"
    assert modality_of(stack("BF", "Phase")) is None
    assert modality_of(stack()) is None
