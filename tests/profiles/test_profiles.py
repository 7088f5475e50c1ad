"""Profiles of bodies whose size and curvature are known, against cubic, trimesh and scikit-image, and of odd labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import trimesh
from numpy.typing import NDArray
from scipy import ndimage, stats
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation
from skimage.measure import regionprops_table

from spotlight.errors import SpotlightError
from spotlight.images import Stack
from spotlight.images.pieces import label_pieces
from spotlight.metrics import compare_nuclei, feature_ranges, profile_distance, profile_error, score_features
from spotlight.plain_yaml import load_yaml
from spotlight.profiles import FEATURES, FULL_FEATURES, INTENSITIES, ProfileSettings, measure, write_table
from spotlight.profiles.bounding import (
    cylinder_volume,
    enclosing_ball,
    largest_distance,
    oriented_box_volume,
    outermost,
    spread_directions,
)
from spotlight.profiles.mesh import MESH_FEATURES, SURFACE_FEATURES, mesh_features, shape_of_mesh, surface_features
from spotlight.profiles.regions import REGION_FEATURES, region_features
from spotlight.profiles.surface import find_surface, triangle_areas

FULL = ProfileSettings(features="full")
TURN = Rotation.from_euler("zyx", [20, 35, 50], degrees=True).as_matrix()
PAPER = (0.29, 0.29, 0.29)
CAMERA = (0.29, 0.108, 0.108)


def ellipsoid(
    axes: tuple[float, float, float], spacing: tuple[float, ...], turn: NDArray[Any] = TURN
) -> NDArray[np.bool_]:
    """A turned ellipsoid that fills its array."""
    reach = np.ceil(max(axes) / np.array(spacing)).astype(int) + 1
    lines = [np.arange(-n, n + 1) * s for n, s in zip(reach, spacing, strict=True)]
    body = ((np.stack(np.meshgrid(*lines, indexing="ij"), -1) @ turn / axes) ** 2).sum(-1) <= 1
    return np.asarray(body[ndimage.find_objects(body.astype(int))[0]])


def smooth_features(body: NDArray[np.bool_], spacing: tuple[float, ...], smoothing: float) -> dict[str, float]:
    """All that is measured of the smooth surface of a body."""
    surface = find_surface(body, spacing, smoothing)
    return surface_features(surface.vertices, surface.faces) | mesh_features(surface)


def bumpy(seed: int, spacing: float = 0.29) -> NDArray[np.bool_]:
    """A nucleus with lobes."""
    rng = np.random.default_rng(seed)
    axes = rng.uniform(2.5, 4.5, 3)
    lines = [np.arange(-24, 25) * spacing] * 3
    radius = ((np.stack(np.meshgrid(*lines, indexing="ij"), -1) @ TURN / axes) ** 2).sum(-1)
    noise = ndimage.gaussian_filter(rng.normal(size=radius.shape), 1.5 / spacing)
    parts, _ = ndimage.label(radius < 1 + 0.25 * noise / noise.std())
    return np.asarray(parts == 1 + np.bincount(parts.ravel())[1:].argmax())


def integrate(a: float, b: float, c: float) -> dict[str, float]:
    """Area and mean curvatures of an ellipsoid, summed over its surface."""
    polar, around = np.meshgrid(
        (np.arange(400) + 0.5) * np.pi / 400, (np.arange(800) + 0.5) * np.pi / 400, indexing="ij"
    )
    x, y, z = a * np.sin(polar) * np.cos(around), b * np.sin(polar) * np.sin(around), c * np.cos(polar)
    q = x**2 / a**4 + y**2 / b**4 + z**2 / c**4
    gaussian = 1 / (a * b * c * q) ** 2
    mean = (a**2 + b**2 + c**2 - x**2 - y**2 - z**2) / (2 * (a * b * c) ** 2 * q**1.5)
    half = np.sqrt(np.maximum(mean**2 - gaussian, 0))
    share = np.sin(polar) * np.sqrt(q) * a * b * c * (np.pi / 400) ** 2
    values = {
        "gaussian_curvature": gaussian,
        "mean_curvature": mean,
        "shape_index": 2 / np.pi * np.arctan2(mean, half),
        "curvedness": np.sqrt(mean**2 + half**2),
    }
    return {"surface": share.sum()} | {name: float((v * share).sum() / share.sum()) for name, v in values.items()}


# --- the smooth surface and its curvature ----------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", [PAPER, CAMERA, (0.2, 0.2, 0.2), (0.5, 0.36, 0.36)])
def test_a_ball_has_the_curvature_of_its_radius(spacing: tuple[float, ...]) -> None:
    r = 4.0
    found = smooth_features(ellipsoid((r, r, r), spacing), spacing, 0.6)
    assert found["mesh_volume"] == pytest.approx(4 / 3 * np.pi * r**3, rel=0.01)
    assert found["surface"] == pytest.approx(4 * np.pi * r**2, rel=0.01)
    assert found["mean_curvature"] == pytest.approx(1 / r, rel=0.01)
    assert found["gaussian_curvature"] == pytest.approx(1 / r**2, rel=0.02)
    assert found["curvedness"] == pytest.approx(1 / r, rel=0.01)
    assert 0.94 < found["shape_index"] <= 1
    assert found["sphericity"] == pytest.approx(1, abs=0.005)
    assert found["ball_volume"] == pytest.approx(4 / 3 * np.pi * r**3, rel=0.06)
    assert found["cylinder_volume"] == pytest.approx(2 * np.pi * r**3, rel=0.04)
    assert found["feret_diameter_max"] == pytest.approx(2 * r, rel=0.02)
    assert found["inertia_1"] == pytest.approx(2 / 5 * r**2 * found["mesh_volume"], rel=0.02)


@pytest.mark.parametrize("spacing", [PAPER, CAMERA])
@pytest.mark.parametrize("axes", [(4.0, 6.0, 6.0), (3.0, 5.0, 7.0)])
def test_an_ellipsoid_has_its_curvature(axes: tuple[float, float, float], spacing: tuple[float, ...]) -> None:
    found = smooth_features(ellipsoid(axes, spacing), spacing, 0.6)
    for name, expected in integrate(*axes).items():
        assert found[name] == pytest.approx(expected, rel=0.02), name
    a, b, c = axes
    inertia = np.sort([a**2 + b**2, a**2 + c**2, b**2 + c**2]) / 5 * found["mesh_volume"]
    # The blur draws in the ends a little, and inertia goes with the fifth power of length.
    assert [found[f"inertia_{i}"] for i in (1, 2, 3)] == pytest.approx(inertia.tolist(), rel=0.035)
    assert found["feret_diameter_max"] == pytest.approx(2 * c, rel=0.02)
    assert found["solidity"] == pytest.approx(1, abs=0.005)
    assert found["oriented_box_volume"] == pytest.approx(8 * a * b * c, rel=0.05)


def test_no_feature_depends_on_how_the_voxels_are_cut() -> None:
    axes = (3.0, 4.5, 6.0)
    cubes, slabs = (smooth_features(ellipsoid(axes, spacing), spacing, 0.6) for spacing in (PAPER, CAMERA))
    loose = {"oriented_box_volume": 0.04, "cylinder_volume": 0.03, "ball_volume": 0.04, "box_volume": 0.03}
    for name in (*SURFACE_FEATURES, *MESH_FEATURES):
        assert slabs[name] == pytest.approx(cubes[name], rel=loose.get(name, 0.02)), name


@pytest.mark.parametrize(
    ("spacing", "within"),
    [(CAMERA, 0.01), (PAPER, 0.012), ((0.5, 0.25, 0.25), 0.025), ((1.0, 0.2, 0.2), 0.05), ((0.3, 0.2, 0.4), 0.015)],
)
@pytest.mark.parametrize("turn", [np.eye(3), TURN])
def test_no_quick_feature_depends_on_the_grid(
    spacing: tuple[float, ...], within: float, turn: NDArray[np.float64]
) -> None:
    a, b, c = axes = (3.3, 4.5, 5.9)
    body = ellipsoid(axes, spacing, turn)
    (row,) = measure(Stack(body.astype(np.uint8), "ZYX", spacing)).to_dict("records")
    volume, surface = 4 / 3 * np.pi * a * b * c, integrate(*axes)["surface"]
    variances = np.einsum("ij,j,kj->ik", turn, np.square(axes) / 5, turn)
    height = 2 * np.sqrt(5 * variances[0, 0])
    width = 2 * np.sqrt(5) * np.linalg.det(variances[1:, 1:]) ** 0.25
    assert row["volume"] == pytest.approx(volume, rel=within)
    assert row["long_axis"] == pytest.approx(2 * c, rel=within)
    assert row["short_axis"] == pytest.approx(2 * a, rel=within)
    assert row["height"] == pytest.approx(height, rel=within)
    assert row["width"] == pytest.approx(width, rel=within)
    assert row["elongation"] == pytest.approx(height / width, rel=within)
    assert row["surface"] == pytest.approx(surface, rel=0.02)
    assert row["sphericity"] == pytest.approx(np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / surface, rel=0.02)
    assert row["solidity"] == pytest.approx(1, abs=0.01)


def test_no_feature_of_two_dimensions_depends_on_the_grid() -> None:
    for spacing in ((0.2, 0.2), (0.1, 0.2), (0.3, 0.16)):
        for angle in (0.0, 0.6, 1.2):
            y, x = (np.arange(round(16 / s)) * s - 8 for s in spacing)
            y, x = y[:, None], x[None]
            u, v = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
            body = (u / 4) ** 2 + (v / 6) ** 2 <= 1
            (row,) = measure(Stack(body.astype(np.uint8), "YX", spacing), settings=FULL).to_dict("records")
            truth = {
                "area": np.pi * 24,
                "perimeter": 31.73,
                "circularity": 4 * np.pi * np.pi * 24 / 31.73**2,
                "long_axis": 12,
                "short_axis": 8,
                "eccentricity": np.sqrt(1 - (4 / 6) ** 2),
                "solidity": 1,
                "axis_major_length": 12,
                "axis_minor_length": 8,
                "equivalent_diameter_area": 2 * np.sqrt(24),
                "area_convex": np.pi * 24,
                "feret_diameter_max": 12,
            }
            for name, value in truth.items():
                assert row[name] == pytest.approx(value, rel=0.045), (name, spacing, angle)


def test_curvature_agrees_with_the_angles_of_the_mesh() -> None:
    """The integrals that trimesh takes from angles between faces, of which ours know nothing."""
    for body in (bumpy(0), ellipsoid((2.0, 3.0, 5.0), PAPER)):
        surface = find_surface(body, PAPER, 0.6)
        mesh = trimesh.Trimesh(surface.vertices, surface.faces, process=False)
        assert mesh.is_watertight
        assert mesh.volume == pytest.approx(body.sum() * 0.29**3, rel=0.005)
        large, small = surface.curvatures
        edges = np.linalg.norm(np.subtract(*mesh.vertices[mesh.face_adjacency_edges.T]), axis=1)
        signs = np.where(mesh.face_adjacency_convex, 1, -1)  # older trimesh takes every edge as convex
        mean = (mesh.face_adjacency_angles * signs * edges).sum() / 2
        assert surface.mean((large + small) / 2) * mesh.area == pytest.approx(mean, rel=0.02)
        assert surface.mean(large * small) * mesh.area == pytest.approx(mesh.vertex_defects.sum(), rel=0.02)
        assert surface.areas.sum() == pytest.approx(mesh.area)


def test_shape_index_tells_caps_ridges_and_cups() -> None:
    lines = np.meshgrid(*[np.arange(-30, 31) * 0.29] * 3, indexing="ij")
    rod = np.hypot(lines[1], lines[2]) <= 2.5
    middle = find_surface(rod, PAPER, 0.6)
    side = np.abs(middle.vertices[:, 0] - middle.vertices[:, 0].mean()) < 5
    assert np.median(middle.curvatures[0][side]) == pytest.approx(1 / 2.5, rel=0.05)
    assert np.median(middle.curvatures[1][side]) == pytest.approx(0, abs=0.03)
    # A ball with a cavity: caps outside, cups inside, in the ratio of their areas.
    radius = np.sqrt(sum(line**2 for line in lines))
    shell = smooth_features((radius <= 6) & (radius > 3), PAPER, 0.6)
    assert shell["shape_index"] == pytest.approx((36 - 9) / (36 + 9), abs=0.05)
    assert shell["mean_curvature"] == pytest.approx((36 / 6 - 9 / 3) / (36 + 9), rel=0.1)
    # A ring: as much saddle as cap.
    ring = (np.hypot(lines[1], lines[2]) - 5) ** 2 + lines[0] ** 2 <= 2**2
    assert smooth_features(ring, PAPER, 0.6)["gaussian_curvature"] == pytest.approx(0, abs=0.003)


def test_lengths_scale_with_the_voxels() -> None:
    body = bumpy(1)
    one, two = (smooth_features(body, (s,) * 3, 2 * s) for s in (0.29, 0.58))
    power = {
        "area": 2,
        "surface": 2,
        "volume": 3,
        "inertia": 5,
        "box": 1,
        "feret": 1,
        "gaussian": -2,
        "mean": -1,
        "curvedness": -1,
    }
    for name in (*SURFACE_FEATURES, *MESH_FEATURES):
        powers = [p for part, p in power.items() if part in name.split("_")]
        assert two[name] / one[name] == pytest.approx(2.0 ** (max(powers) if powers else 0), rel=1e-3), name


# --- against other libraries -----------------------------------------------------------------------------------------

CUBIC = {
    "surface": "Area",
    "mesh_volume": "Volume",
    "box_short": "Min Axis Length",
    "box_middle": "Med Axis Length",
    "box_long": "Max Axis Length",
    "box_diagonal": "Scale",
    "inertia_1": "Inertia PC1",
    "inertia_2": "Inertia PC2",
    "inertia_3": "Inertia PC3",
    "box_volume": "Bounding Box Volume",
    "hull_volume": "Convex Hull Volume",
    "hull_area": "Convex Hull Area",
    "sphericity": "Sphericity",
    "mesh_extent": "Extent",
    "solidity": "Solidity",
}
"""Features that are exactly those of cubic on the same mesh."""


@pytest.fixture(scope="module")
def cubic_nucleus() -> tuple[NDArray[np.bool_], Any, dict[str, float]]:
    """A nucleus away from the border, cubic's mesh of it and its features."""
    from cubic.feature.mesh import extract_mesh_features, mask2mesh

    body = np.pad(bumpy(2, 0.35), 2)
    mesh = mask2mesh(body)
    return body, mesh, extract_mesh_features(mesh)


def test_features_of_one_mesh_are_those_of_cubic(cubic_nucleus: tuple[Any, Any, dict[str, float]]) -> None:
    _, mesh, expected = cubic_nucleus
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    found = surface_features(vertices, faces) | shape_of_mesh(vertices, faces)
    for ours, theirs in CUBIC.items():
        assert found[ours] == pytest.approx(expected[theirs], rel=1e-6), ours
    # Searches: cubic's own are not exact either.
    assert found["oriented_box_volume"] == pytest.approx(expected["Oriented Bounding Box Volume"], rel=0.04)
    assert found["cylinder_volume"] == pytest.approx(expected["Bounding Cylinder Volume"], rel=0.04)
    assert 0.97 <= found["ball_volume"] / expected["Bounding Sphere Volume"] <= 1 + 1e-6


def test_features_of_a_nucleus_are_those_of_cubic_without_the_staircase(
    cubic_nucleus: tuple[Any, Any, dict[str, float]],
) -> None:
    body, _, expected = cubic_nucleus
    found = smooth_features(body, (1, 1, 1), 1.0)
    assert found["mesh_volume"] == pytest.approx(expected["Volume"], rel=0.01)
    assert 0.86 < found["surface"] / expected["Area"] < 0.95  # the staircase
    for ours in ("box_short", "box_middle", "box_long", "box_diagonal"):
        # cubic's mesh ends half a voxel beyond the outermost centres, wherever the body ends.
        assert found[ours] == pytest.approx(expected[CUBIC[ours]], abs=1), ours
    for ours in ("hull_volume", "inertia_1", "inertia_2", "inertia_3", "solidity"):
        assert found[ours] == pytest.approx(expected[CUBIC[ours]], rel=0.08), ours


def test_region_features_are_those_of_the_whole_image() -> None:
    labels = np.zeros((30, 60, 60), np.int32)
    labels[3:20, 4:30, 5:25] = ellipsoid((2.4, 2.6, 2.0), (0.3, 0.2, 0.2), np.eye(3))[:17, :26, :20]
    labels[8, 10:13, 12:14] = 0
    labels[5:25, 40:50, 30:55] = 4
    names = dict.fromkeys(name.split("-")[0] for name in REGION_FEATURES[3])
    expected = regionprops_table(labels, properties=["label", *names], spacing=(0.3, 0.2, 0.2))
    table = measure(Stack(labels, "ZYX", (0.3, 0.2, 0.2)), settings=FULL)
    assert table["label"].tolist() == expected["label"].tolist()
    for name in REGION_FEATURES[3]:
        assert table[name].to_numpy() == pytest.approx(expected[name]), name


def test_bounding_bodies_of_known_points() -> None:
    corners = np.array(np.meshgrid(*[[0.0, 1.0]] * 3)).reshape(3, -1).T * (2, 3, 6) @ TURN
    center, radius = enclosing_ball(corners)
    assert radius == pytest.approx(3.5)
    assert center == pytest.approx(corners.mean(axis=0))
    assert oriented_box_volume(corners, outermost(corners)) == pytest.approx(36, rel=1e-6)
    assert largest_distance(corners, outermost(corners)) == pytest.approx(7)
    angle = np.linspace(0, 2 * np.pi, 90)
    rod = np.concatenate([np.stack([np.full(90, z), 2 * np.cos(angle), 2 * np.sin(angle)], 1) for z in (0.0, 9.0)])
    assert cylinder_volume(rod @ TURN, outermost(rod @ TURN)) == pytest.approx(np.pi * 4 * 9, rel=0.04)
    _, radius = enclosing_ball(np.array([[0.0, 0], [4, 0], [1, 1], [2, 0.5]]))
    assert radius == pytest.approx(2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_bounding_bodies_are_about_the_smallest(seed: int) -> None:
    vertices = find_surface(bumpy(seed), PAPER, 0.6).vertices
    points = vertices[ConvexHull(vertices).vertices]
    outer = outermost(points)
    center, radius = enclosing_ball(points)
    assert np.linalg.norm(points - center, axis=1).max() <= radius * (1 + 1e-6)
    # The smallest ball is held by points on it that no half space through its centre leaves out.
    held = points[np.linalg.norm(points - center, axis=1) > radius * (1 - 1e-6)] - center
    assert (held @ spread_directions(200).T).max(axis=0).min() > -0.1 * radius
    assert largest_distance(points, outer) == pytest.approx(pdist(points).max())
    least = trimesh.bounds.minimum_cylinder(points)
    assert cylinder_volume(points, outer) < 1.04 * np.pi * least["radius"] ** 2 * least["height"]
    assert oriented_box_volume(points, outer) < 1.06 * np.prod(trimesh.bounds.oriented_bounds(points)[1])


# --- the table -------------------------------------------------------------------------------------------------------


def test_the_full_table_holds_the_quick_one() -> None:
    labels = np.zeros((36, 50, 50), np.uint8)
    body = ellipsoid((3.0, 4.0, 4.5), PAPER)
    labels[tuple(slice(2, 2 + n) for n in body.shape)] = 5 * body
    stack = Stack(labels, "ZYX", PAPER)
    image = Stack(np.where(labels, 700.0, 100.0) + np.arange(50), "ZYX", PAPER)
    quick, full = measure(stack, image), measure(stack, image, FULL)
    assert quick.columns.tolist() == ["label", "z", "y", "x", *FEATURES[3], "mean_intensity"]
    assert full.columns.tolist() == ["label", "z", "y", "x", "touches_border", *FULL_FEATURES[3], *INTENSITIES]
    pd.testing.assert_frame_equal(full[quick.columns], quick)
    inside = image.data[labels == 5]
    row = full.iloc[0]
    assert row["std_intensity"] == pytest.approx(inside.std())
    assert (row["min_intensity"], row["max_intensity"]) == (inside.min(), inside.max())
    assert row["integrated_intensity"] == pytest.approx(inside.sum() * 0.29**3)
    assert row["mesh_volume"] == pytest.approx(row["volume"], rel=0.005)
    assert np.isfinite(full.drop(columns="touches_border").to_numpy()).all()


def test_flips_and_transposes_change_nothing() -> None:
    body = np.pad(bumpy(3), 1)
    one = smooth_features(body, PAPER, 0.6) | region_features(body, PAPER)
    other = body[::-1, :, ::-1].transpose(2, 0, 1)
    for name, value in (smooth_features(other, PAPER, 0.6) | region_features(other, PAPER)).items():
        loose = name in ("oriented_box_volume", "cylinder_volume")
        assert value == pytest.approx(one[name], rel=0.04 if loose else 0.01, abs=1e-12), name


def test_two_dimensions() -> None:
    y, x = np.mgrid[:60, :80] * 0.2
    labels = (((y - 6) / 4) ** 2 + ((x - 8) / 6) ** 2 <= 1).astype(np.uint8)
    (row,) = measure(Stack(labels, "YX", (0.2, 0.2)), settings=FULL).to_dict("records")
    assert list(row) == ["label", "y", "x", "touches_border", *FULL_FEATURES[2]]
    assert row["area_filled"] == pytest.approx(np.pi * 24, rel=0.01)
    assert row["feret_diameter_max"] == pytest.approx(12, rel=0.03)
    assert row["axis_minor_length"] == pytest.approx(8, rel=0.01)


def odd(*bodies: tuple[int, tuple[slice, ...]]) -> Stack:
    labels = np.zeros((12, 16, 16), np.int64)
    for number, box in bodies:
        labels[box] = number
    return Stack(labels, "ZYX", CAMERA)


VOXEL = (slice(5, 6),) * 3
PLANE = (slice(5, 6), slice(2, 14), slice(2, 14))
LINE = (slice(5, 6), slice(5, 6), slice(0, 16))


@pytest.mark.parametrize("box", [VOXEL, PLANE, LINE, (slice(0, 12), slice(0, 16), slice(0, 16))])
def test_specks_planes_and_what_fills_the_stack_have_finite_features(box: tuple[slice, ...]) -> None:
    for stack in (odd((3, box)), Stack(odd((3, box)).data, "ZYX"), Stack(odd((3, box)).data, "ZYX", (3, 0.1, 0.1))):
        table = measure(stack, settings=FULL)
        (row,) = table.to_dict("records")
        assert np.isfinite(table.drop(columns="touches_border").to_numpy()).all()
        assert row["mesh_volume"] == pytest.approx(row["volume"], rel=0.03)
        assert 0 < row["solidity"] <= 1 + 1e-6
        assert row["euler_number"] == 1


@pytest.mark.slow
def test_random_specks_have_finite_features() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        body = rng.random(tuple(rng.integers(1, 10, 3))) < rng.uniform(0.02, 1)
        body.flat[0] = True
        spacing = tuple(10 ** rng.uniform(-1.5, 0.7, 3))
        found = smooth_features(body, spacing, 10 ** rng.uniform(-1, 0.7))
        assert np.isfinite(list(found.values())).all()
        assert found["mesh_volume"] == pytest.approx(body.sum() * np.prod(spacing), rel=0.1)
        for name in ("oriented_box_volume", "cylinder_volume", "ball_volume", "box_volume"):
            assert found[name] >= found["hull_volume"] * (1 - 1e-6), name


def test_a_nucleus_at_the_border_is_closed_there() -> None:
    whole = ellipsoid((3.0, 4.0, 4.0), PAPER, np.eye(3))
    half = whole[:, : whole.shape[1] // 2]
    table = measure(Stack(half.astype(np.uint8), "ZYX", PAPER), settings=FULL)
    (row,) = table.to_dict("records")
    assert row["touches_border"]
    assert row["mesh_volume"] == pytest.approx(half.sum() * 0.29**3, rel=0.005)
    # Half of the surface and the cut, which an open mesh would lack; the blur rounds the edge between them.
    assert row["surface"] == pytest.approx(integrate(3, 4, 4)["surface"] / 2 + np.pi * 3 * 4, rel=0.12)
    free = measure(Stack(np.pad(whole, 1).astype(np.uint8), "ZYX", PAPER), settings=FULL)
    assert not free["touches_border"].any()


def test_numbers_with_gaps_and_large_ones() -> None:
    boxes = [(slice(2, 5), slice(1, 5), slice(1, 5)), (slice(6, 9), slice(8, 12), slice(8, 12))]
    small, large = (odd(*zip(names, boxes, strict=True)) for names in ((7, 900), (2**33, 2**40)))
    a, b = measure(small), measure(large)
    assert a["label"].tolist() == [7, 900]
    assert b["label"].tolist() == [2**33, 2**40]
    pd.testing.assert_frame_equal(a.drop(columns="label"), b.drop(columns="label"))


@pytest.mark.parametrize("settings", [ProfileSettings(), FULL])
@pytest.mark.parametrize(("axes", "shape"), [("ZYX", (4, 8, 8)), ("YX", (8, 8)), ("ZYX", (0, 8, 8))])
def test_no_nuclei_give_a_table_without_rows(settings: ProfileSettings, axes: str, shape: tuple[int, ...]) -> None:
    empty = Stack(np.zeros(shape, np.uint16), axes)
    one = Stack(np.ones((4,) * len(axes), np.uint16), axes)
    table, other = measure(empty, empty, settings), measure(one, one, settings)
    assert table.empty
    assert table.dtypes.to_dict() == other.dtypes.to_dict()
    assert len(pd.concat([table, other])) == 1


@pytest.mark.slow
def test_thousands_of_nuclei() -> None:
    labels = np.zeros((16, 100, 100), np.int32)
    labels[::4, ::4, ::4] = np.arange(1, 2501).reshape(4, 25, 25)
    table = measure(Stack(labels, "ZYX", PAPER))
    assert len(table) == 2500
    assert table["label"].is_monotonic_increasing
    assert table["volume"].to_numpy() == pytest.approx(0.29**3)


@pytest.mark.parametrize(
    ("array", "axes", "message"),
    [
        (np.ones((4, 4, 4), np.float32), "ZYX", "whole numbers. Received: float32"),
        (np.full((4, 4), -2, np.int16), "YX", "0 or more, but the lowest is -2"),
        (np.ones((1, 2, 4, 4), np.uint8), "TCYX", "has 2 channels"),
        (np.ones((2, 4, 4), np.uint8), "CYX", "2 channels"),
    ],
)
def test_what_is_no_label_image_is_said(array: NDArray[Any], axes: str, message: str) -> None:
    with pytest.raises(SpotlightError, match=message):
        measure(Stack(array, axes))


def test_a_gap_in_the_image_is_a_gap_in_that_nucleus() -> None:
    labels = odd((1, PLANE), (2, (slice(8, 10),) * 3))
    image = np.ones(labels.shape)
    image[9, 9, 9] = np.nan
    table = measure(labels, Stack(image, "ZYX", CAMERA), FULL)
    assert (table.loc[0, list(INTENSITIES[:1])] == 1).all()
    assert table.loc[1, list(INTENSITIES)].isna().all()
    assert table.loc[1, list(FULL_FEATURES[3])].notna().all()


def test_intensity_on_another_grid_is_said() -> None:
    with pytest.raises(SpotlightError, match=r"shape \(4, 5\), but the labels have \(4, 4\)"):
        measure(Stack(np.ones((4, 4), int), "YX"), Stack(np.ones((4, 5)), "YX"))


@pytest.mark.parametrize("settings", [ProfileSettings(), FULL])
def test_both_files_hold_the_table(tmp_path: Path, settings: ProfileSettings) -> None:
    labels = odd((4, PLANE), (9, VOXEL))
    table = measure(labels, labels, settings)
    csv, parquet = write_table(table, tmp_path / "new" / "field.01-nuclei")
    assert [path.name for path in (csv, parquet)] == ["field.01-nuclei.csv", "field.01-nuclei.parquet"]
    pd.testing.assert_frame_equal(pd.read_parquet(parquet), table)
    pd.testing.assert_frame_equal(pd.read_csv(csv), table, rtol=1e-5, check_dtype=False)
    empty = table.iloc[:0]
    pd.testing.assert_frame_equal(pd.read_parquet(write_table(empty, tmp_path / "none")[1]), empty)


def test_a_mask_is_no_labels(caplog: pytest.LogCaptureFixture) -> None:
    labels = np.zeros((8, 40, 40), np.int32)
    for number, (y, x) in enumerate([(4, 4), (4, 24), (24, 4), (24, 24)], start=1):
        labels[2:6, y : y + 10, x : x + 10] = number
    for mask in ((labels > 0).astype(np.uint8) * 255, (labels > 0).astype(np.int64) << 40):
        with pytest.raises(SpotlightError, match=r"is a mask, not labels: 1 numbers for 4 bodies.*spotlight label"):
            measure(Stack(mask, "ZYX", PAPER))
    with pytest.raises(SpotlightError, match="spotlight label"):
        measure(Stack(labels > 0, "ZYX", PAPER))
    assert len(measure(Stack(labels, "ZYX", PAPER))) == 4
    labels[0, 0, :3] = 1  # a speck
    measure(Stack(labels, "ZYX", PAPER))
    assert not caplog.text
    measure(Stack(np.where(labels == 2, 1, labels), "ZYX", PAPER))
    assert "1 of 3 labels are in several large pieces (label 1 in 2)" in caplog.text
    for mask in (labels > 1, (labels > 1) * 0.5, np.where(labels > 1, 255, 0).astype(np.uint8)):
        numbered = label_pieces(Stack(mask, "ZYX", PAPER))
        assert (
            measure(numbered)["volume"].tolist()
            == measure(Stack(labels * (labels > 1), "ZYX", PAPER))["volume"].tolist()
        )
    touching = np.repeat(np.array([[1, 2]], np.uint8), 4, axis=1).repeat(5, axis=0)
    assert label_pieces(Stack(touching, "YX")).data.max() == 2


def test_every_column_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text()
    for name in {*FULL_FEATURES[2], *FULL_FEATURES[3], *INTENSITIES, "touches_border"}:
        assert f"`{name.split('-')[0]}" in text, name


def test_settings_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "profiles.yaml"
    path.write_text(FULL.to_yaml())
    assert ProfileSettings.from_yaml(path) == FULL
    assert load_yaml(path) == {"features": "full", "smoothing_um": 0.6}
    with pytest.raises(SpotlightError, match="smoothing_um"):
        ProfileSettings.parse({"smoothing_um": 0}, "test")


# --- agreement -------------------------------------------------------------------------------------------------------


def nuclei(**columns: list[float]) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    return pd.DataFrame({"label": range(1, count + 1)} | columns)


def test_scores_of_features_by_hand() -> None:
    true = nuclei(volume=[100.0, 200, 400, 50], bend=[0.0, -2, 2, 1], same=[1.0, 1, 1, 1])
    found = nuclei(volume=[110.0, 180, 500, 50], bend=[0.5, -1, 1, np.nan], same=[1.0, 1, 1, 2])
    matched = compare_nuclei(true, found, np.array([[1, 1], [2, 2], [3, 3], [4, 4]]), ["volume", "bend", "same"])
    assert matched["bend_error"].tolist() == pytest.approx([np.nan, 0.5, -0.5, np.nan], nan_ok=True)
    ranges = {"volume": (0.0, 200.0), "bend": (-2.0, 2.0), "same": (1.0, 1.0)}
    table = score_features(matched, ranges).set_index("feature")
    assert table["nuclei"].tolist() == [4, 3, 4]
    assert table.loc["volume", "bias"] == pytest.approx((0 + 0.1) / 2)
    assert table.loc["volume", "relative_error"] == pytest.approx(0.1)
    assert table.loc["volume", "scaled_error"] == pytest.approx((10 + 20 + 100 + 0) / 4 / 200)
    r = stats.pearsonr([100, 200, 400, 50], [110, 180, 500, 50]).statistic
    assert table.loc["volume", "correlation"] == pytest.approx(r)
    assert table.loc["bend", "bias"] == pytest.approx(0)
    assert table.loc["bend", "scaled_error"] == pytest.approx((0.5 + 1 + 1) / 3 / 4)
    assert np.isnan(table.loc["same", ["scaled_error", "correlation"]].astype(float)).all()
    assert table.loc["volume", ["true_median", "median"]].tolist() == [150, 145]


def test_scores_of_features_without_matches() -> None:
    table = nuclei(volume=[1.0, 2])
    none = compare_nuclei(table, table, np.zeros((0, 2), int), ["volume"])
    (row,) = score_features(none, {"volume": (0.0, 1.0)}).to_dict("records")
    assert row["nuclei"] == 0
    assert np.isnan([value for name, value in row.items() if name not in ("feature", "nuclei")]).all()
    two = compare_nuclei(table, table, np.array([[1, 1], [2, 2]]), ["volume"])
    assert np.isnan(score_features(two, {"volume": (0.0, 1.0)})["correlation"]).all()
    assert score_features(two, {}).empty


def test_ranges_leave_out_what_has_no_scale() -> None:
    table = nuclei(volume=list(np.arange(101.0)), euler=[1.0] * 101, none=[np.nan] * 101)
    ranges = feature_ranges(table, ["volume", "euler", "none"])
    assert ranges == {"volume": pytest.approx((1, 99))}
    assert feature_ranges(table.iloc[:0], ["volume"]) == {}
    assert feature_ranges(table.iloc[:1], ["volume"]) == {}


def test_profiles_ignore_what_has_no_scale_and_know_what_is_missing() -> None:
    true, found = nuclei(volume=[1.0, 2, 3], euler=[1.0, 1, 1]), nuclei(volume=[2.0, 3, 4], euler=[2.0, 2, 2])
    ranges = {"volume": (0.0, 4.0), "euler": (1.0, 1.0)}
    assert profile_error(true, found, ranges) == pytest.approx(0.25)
    assert profile_distance(true, found, ranges) == pytest.approx(0, abs=1e-12)
    assert np.isnan(profile_error(true, found, {"euler": (1.0, 1.0)}))
    assert np.isnan(profile_distance(true, found, {}))
    gap = found.assign(volume=[np.nan, 3, 4])
    assert profile_error(true, gap, ranges) == pytest.approx((3.5 - 2) / 4)
    assert np.isnan(profile_distance(true, found.assign(volume=np.nan), ranges))
    with pytest.raises(SpotlightError, match="no column bend"):
        profile_distance(true, found, {"bend": (0.0, 1.0)})
    with pytest.raises(SpotlightError, match="no column bend"):
        compare_nuclei(true, found, np.array([[1, 1]]), ["volume", "bend"])
    with pytest.raises(SpotlightError, match="no column bend"):
        feature_ranges(true, ["bend"])


def test_areas_of_triangles_by_hand() -> None:
    vertices = np.array([[0.0, 0, 0], [3, 0, 0], [0, 4, 0], [0, 0, 2]])
    assert triangle_areas(vertices, np.array([[0, 1, 2], [0, 1, 3]])).tolist() == [6, 3]


def test_an_image_of_another_voxel_size_is_not_of_these_labels() -> None:
    labels = np.zeros((8, 24, 24), np.uint8)
    labels[2:6, 4:12, 4:12] = 1
    image = Stack(np.ones(labels.shape, np.float32), "ZYX", (0.58, 0.29, 0.29))
    with pytest.raises(SpotlightError, match="state different voxel sizes"):
        measure(Stack(labels, "ZYX", (0.29, 0.29, 0.29)), image)
    movie = Stack(np.stack([image.data, image.data]), "TZYX", image.voxel_size)
    with pytest.raises(SpotlightError, match="state different voxel sizes"):
        measure(Stack(np.stack([labels, labels]), "TZYX", (0.29, 0.29, 0.29)), movie)
    of_image = measure(Stack(labels, "ZYX"), image)  # labels that state no size lie on the image's grid
    assert of_image["volume"].item() == pytest.approx(4 * 8 * 8 * 0.58 * 0.29**2)


def test_labels_beyond_what_tables_hold() -> None:
    labels = np.zeros((4, 20, 20), np.uint64)
    labels[1:3, 5:10, 5:10] = 2**63 + 5
    with pytest.raises(SpotlightError, match="must be below 2⁶³, but the highest is 9223372036854775813"):
        measure(labels, voxel_size=(1, 1, 1))
