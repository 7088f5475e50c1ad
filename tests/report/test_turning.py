"""Maximum projections from all sides: against plain maxima, a mirror, and points whose places are known."""

import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

from spotlight.report.turning import TALLEST, VIEWS, WIDEST, cubic_volume, projection, turning_picture

VOLUME = np.random.default_rng(0).integers(0, 256, (7, 5, 11), np.uint8)


def test_straight_on_and_from_the_side_it_is_the_plain_maximum() -> None:
    front, side = projection(VOLUME, 0), projection(VOLUME, 90)
    assert front.shape == side.shape  # as wide at every angle
    margin = (front.shape[1] - 11) // 2
    np.testing.assert_array_equal(front[:, margin:-margin], VOLUME.max(axis=0))
    assert not front[:, :margin].any()
    assert not front[:, -margin:].any()
    margin = (front.shape[1] - 7) // 2
    np.testing.assert_array_equal(side[:, margin:-margin], VOLUME.max(axis=2).T)


@pytest.mark.parametrize("degrees", [0, 10, 45, 90, 130])
def test_from_behind_it_is_its_own_mirror_image(degrees: float) -> None:
    np.testing.assert_array_equal(projection(VOLUME, degrees + 180), projection(VOLUME, degrees)[:, ::-1])


@pytest.mark.parametrize("degrees", range(0, 180, 15))
def test_a_point_moves_on_an_ellipse(degrees: int) -> None:
    volume = np.zeros((21, 3, 31), np.uint8)
    volume[16, 1, 6] = 255  # 6 behind the axis, 9 left of it
    seen = projection(volume, degrees)[1].astype(float)
    place = (seen * (np.arange(seen.size) - seen.size // 2)).sum() / seen.sum()
    angle = math.radians(degrees)
    assert place == pytest.approx(-9 * math.cos(angle) + 6 * math.sin(angle), abs=0.5)
    assert not projection(volume, degrees)[[0, 2]].any()


def test_a_constant_ball_has_its_width_from_every_side() -> None:
    z, y, x = np.indices((25, 25, 25)) - 12
    ball = np.where(z**2 + y**2 + x**2 <= 100, 200, 0).astype(np.uint8)
    widths = [(projection(ball, angle)[12] >= 100).sum() for angle in range(0, 360, 20)]
    assert min(widths) >= 20
    assert max(widths) <= 22


def test_flat_voxels_become_cubes() -> None:
    """A ball of 18 µm in voxels of 2 x 0.5 x 0.5 µm is as wide from the side as from the front."""
    z, y, x = (np.indices((13, 49, 49)).T - (6, 24, 24)).T * np.array([2, 0.5, 0.5])[:, None, None, None]
    ball = np.where(z**2 + y**2 + x**2 <= 81, 200, 0).astype(np.uint8)
    cubic = cubic_volume(ball, (2, 0.5, 0.5), TALLEST, WIDEST)
    front, side = (projection(cubic, angle) >= 100 for angle in (0, 90))
    assert front.any(axis=0).sum() == pytest.approx(36, abs=2)
    assert side.any(axis=0).sum() == pytest.approx(36, abs=2)
    flat = cubic_volume(ball, (0.5, 0.5, 0.5), TALLEST, WIDEST)
    assert (projection(flat, 90) >= 100).any(axis=0).sum() == pytest.approx(9, abs=1)


@pytest.mark.parametrize("shape", [(2, 8, 8), (48, 300, 480), (48, 480, 60), (400, 64, 64), (48, 30, 480)])
def test_pictures_keep_their_limits(shape: tuple[int, int, int]) -> None:
    cubic = cubic_volume(np.full(shape, 7, np.uint8), (0.29, 0.1, 0.1), TALLEST, WIDEST)
    assert (cubic == 7).all()
    assert cubic.shape[0] % 2 == cubic.shape[2] % 2 == 1
    height, width = projection(cubic, 0).shape
    assert height <= min(TALLEST, shape[1])
    assert width <= WIDEST + 6


def test_a_stack_of_noise_is_light() -> None:
    """The worst case for a WebP, and three or more stacks: under 150 kB."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 300, 480), np.uint8)
    picture = turning_picture({"target": noise, "a": noise, "b": noise}, (0.29, 0.1, 0.1))
    assert len(picture["image"]) < 150_000
    assert len(turning_picture(dict.fromkeys("abcdef", noise), None)["image"]) < 150_000


def test_the_picture_has_a_row_for_each_stack_and_a_column_for_each_view() -> None:
    ramp = np.broadcast_to(7 * np.arange(32, dtype=np.uint8), (9, 24, 32)).copy()
    made = turning_picture({"target": ramp, "stain": 255 - ramp}, (1, 1, 1))
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(made["image"].partition(",")[2]))).convert("L"), float)
    height, width = made["height"], made["width"]
    assert made["names"] == ["target", "stain"]
    assert image.shape == (2 * height, made["columns"] * width)
    assert made["columns"] == VIEWS // 2
    for row, volume in enumerate((ramp, 255 - ramp)):
        cubic = cubic_volume(volume, (1, 1, 1), TALLEST, WIDEST)
        for view in (0, 5, 9):
            shown = image[row * height : (row + 1) * height, view * width : (view + 1) * width]
            assert np.abs(shown - projection(cubic, 10 * view)).mean() < 5
