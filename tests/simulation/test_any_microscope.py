"""Cells seen by microscopes drawn at random: what real stacks show besides nuclei, and how planes are seen."""

import numpy as np

from spotlight.simulation import AnyMicroscopeSettings, simulate_any_field
from spotlight.simulation.detail import DetailSettings, add_detail
from spotlight.simulation.phantom import CellSettings, make_phantom

SMALL = AnyMicroscopeSettings(shape=(12, 24, 24), source_points=3)
NOTHING = dict.fromkeys(DetailSettings.model_fields, (0.0, 0.0))


def test_details_are_where_they_belong() -> None:
    rng = np.random.default_rng(0)
    phantom = make_phantom((24, 48, 48), 0.3, 1.0, CellSettings(), rng)
    medium = phantom.index == np.float32(CellSettings().medium_index)
    nucleus = phantom.labels > 0

    def change(**some: tuple[float, float]) -> np.ndarray:
        settings = DetailSettings.model_validate(NOTHING | some)
        return add_detail(phantom, CellSettings().medium_index, 5, 0.3, settings, rng) - phantom.index

    assert not change().any()
    envelope = change(envelope=(0.01, 0.01)) > 0
    assert envelope.any()
    assert not (envelope & ~nucleus).any()
    assert not (envelope & np.roll(nucleus, 3, 1) & np.roll(nucleus, -3, 1)).all()
    for inside in (change(tubule=(0.01, 0.01)), change(droplet=(0.05, 0.05), droplets_per_cell=(20, 20))):
        assert (inside > 1e-3).any()
        assert not (inside > 1e-6)[nucleus | medium].any()
    particles = change(debris=(0.03, 0.03), debris_per_100um2=(20, 20))
    assert (particles > 1e-3).any()
    assert not (particles > 1e-6)[~medium].any()
    assert np.flatnonzero(change(haze=(1, 1)).any((1, 2))).tolist() == [0, 23]


def test_planes_that_are_not_seen_lie_on_lines_between_those_that_are() -> None:
    changes = {"sparse_planes": 1.0, "reversed": 0.0}
    seen = simulate_any_field(SMALL.model_copy(update=changes), 2).input.data.astype(float)
    bent = np.abs(seen[:-2] - 2 * seen[1:-1] + seen[2:]).max((1, 2))  # at planes 1, 2, ...
    straight = np.flatnonzero(bent <= 2) + 1  # counts are rounded
    assert straight.tolist() in ([1, 3, 5, 7, 9], [1, 2, 4, 5, 7, 8, 10])


def test_light_from_one_side_and_aberrations_change_the_image_alone() -> None:
    plain = SMALL.model_copy(update={"oblique": (0.0, 0.0), "aberration": 0.0})
    one, other = simulate_any_field(plain, 5), simulate_any_field(SMALL, 5)
    np.testing.assert_array_equal(one.labels.data, other.labels.data)
    assert not np.array_equal(one.input.data, other.input.data)
