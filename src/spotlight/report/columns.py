"""What the columns of the score table mean: their names, explanations, formats, and which value is best."""

from dataclasses import dataclass, replace

GROUPS = (
    "Instances",
    "Size and shape of nuclei",
    "Pixels on the foreground",
    "Pixels on everything",
    "Resolution",
    "Other",
)
"""Headings of the score table, in this order."""

INSTANCES, SHAPE, FOREGROUND, EVERYTHING, RESOLUTION, OTHER = GROUPS

KEYS = ("stack", "method", "seed", "pipeline")
"""Columns that say whose scores a row holds."""


@dataclass(frozen=True)
class Metric:
    """How a metric is shown.

    Attributes
    ----------
    title : str
        Its name under its heading.
    help : str
        What it is, in a few words.
    form : str
        Format of its values.
    best : str
        ``high``, ``low``, ``zero``, or empty where no value is better than another.
    group : str
        One of `GROUPS`.
    where : str
        What distinguishes it from another of the same title, such as ``foreground``.
    """

    title: str
    help: str
    form: str
    best: str
    group: str
    where: str = ""

    @property
    def full_title(self) -> str:
        """The name where no heading stands over it."""
        return f"{self.title}, {self.where}" if self.where else self.title

    def show(self, value: float, signed: bool | None = None) -> str:
        """Write a value; `signed` says whether with its sign, by default as the format does."""
        form = self.form
        if signed is not None:
            form = form.replace("+", "").replace("{:", "{:+" if signed else "{:")
        return form.format(value)


METRICS = {
    "mean_ap": Metric("mean AP", "average precision, mean over IoU 0.5 to 0.95", "{:.3f}", "high", INSTANCES),
    "ap50": Metric("AP at 0.5", "average precision at IoU 0.5", "{:.3f}", "high", INSTANCES),
    "recall50": Metric("recall at 0.5", "share of true nuclei that are found, at IoU 0.5", "{:.3f}", "high", INSTANCES),
    "precision50": Metric(
        "precision at 0.5", "share of found nuclei that are true, at IoU 0.5", "{:.3f}", "high", INSTANCES
    ),
    "panoptic_quality": Metric(
        "panoptic quality", "F1 of matching at IoU 0.5, times the mean IoU of matches", "{:.3f}", "high", INSTANCES
    ),
    "splits": Metric("splits", "true nuclei found in several pieces, per stack", "{:.1f}", "low", INSTANCES),
    "merges": Metric("merges", "found nuclei that cover several true ones, per stack", "{:.1f}", "low", INSTANCES),
    "found_nuclei": Metric("nuclei found", "per stack", "{:.1f}", "", INSTANCES),
    "faint_bodies": Metric(
        "left out as noise", "bodies that rise above the background no further than noise does", "{:.1f}", "", INSTANCES
    ),
    "true_nuclei": Metric("true nuclei", "per stack, after the same clean-up", "{:.1f}", "", INSTANCES),
    "volume_error": Metric("volume error", "median relative volume error of matched nuclei", "{:+.1%}", "zero", SHAPE),
    "area_error": Metric("area error", "median relative area error of matched nuclei", "{:+.1%}", "zero", SHAPE),
    "elongation_error": Metric(
        "elongation error", "median error of height over width of matched nuclei", "{:+.1%}", "zero", SHAPE
    ),
    "height_error": Metric(
        "height error", "median relative error of the axial size of matched nuclei", "{:+.1%}", "zero", SHAPE
    ),
    "width_error": Metric(
        "width error", "median relative error of the lateral size of matched nuclei", "{:+.1%}", "zero", SHAPE
    ),
    "sphericity_error": Metric(
        "sphericity error", "median relative sphericity error of matched nuclei", "{:+.1%}", "zero", SHAPE
    ),
    "profile_error": Metric(
        "profile error",
        "mean absolute difference of median profiles from the truth, in units of each feature's range",
        "{:.3f}",
        "low",
        SHAPE,
    ),
    "profile_distance": Metric(
        "profile distance", "cosine distance of median profiles from the truth", "{:.3f}", "low", SHAPE
    ),
    "profile_distance_to_target": Metric(
        "profile distance to target",
        "cosine distance of median profiles from those of the segmented target, as in the paper",
        "{:.3f}",
        "low",
        SHAPE,
    ),
    "psnr": Metric("PSNR", "peak signal to noise ratio, dB", "{:.2f}", "high", EVERYTHING),
    "psnr_scale_invariant": Metric(
        "scale-invariant PSNR", "dB, after the best linear fit to the target", "{:.2f}", "high", EVERYTHING
    ),
    "nrmse": Metric("NRMSE", "root mean squared error, normalised", "{:.3f}", "low", EVERYTHING),
    "pearson": Metric("Pearson", "correlation with the target", "{:.3f}", "high", EVERYTHING),
    "ssim": Metric("SSIM", "structural similarity", "{:.3f}", "high", EVERYTHING),
    "micro_ms3im": Metric(
        "MicroMS3IM", "structural similarity over several scales, fitted to micrographs", "{:.3f}", "high", EVERYTHING
    ),
    "spectral_pearson": Metric(
        "spectral Pearson", "correlation with the target over spatial frequencies", "{:.3f}", "high", EVERYTHING
    ),
    "fsc_xy_um": Metric("FSC, XY", "µm, from one image, whose noise it goes by", "{:.2f}", "", RESOLUTION),
    "fsc_z_um": Metric("FSC, Z", "µm, from one image, whose noise it goes by", "{:.2f}", "", RESOLUTION),
    "fsc_of_two_xy_um": Metric(
        "FSC with the target, XY", "µm down to which stain and target agree", "{:.2f}", "", RESOLUTION
    ),
    "fsc_of_two_z_um": Metric(
        "FSC with the target, Z", "µm down to which stain and target agree", "{:.2f}", "", RESOLUTION
    ),
    "frc_um": Metric("FRC", "µm, plane by plane, from one image", "{:.2f}", "", RESOLUTION),
    "frc_of_two_um": Metric("FRC with the target", "µm down to which stain and target agree", "{:.2f}", "", RESOLUTION),
}
"""Metrics on the whole stack and of the first pipeline; `describe` knows their relatives."""

KEY_METRICS = ("mean_ap", "volume_error", "area_error", "elongation_error", "psnr_foreground", "psnr")
"""What stands at the head of the page."""

PLACES = {"_foreground": "foreground", "_nuclei": "true nuclei"}
"""Suffixes of the columns of scores on a part of the stack, and what that part is."""

PIPELINES = {"_cellpose": "Cellpose"}
"""Suffixes of the columns of further segmentation pipelines."""


FEATURE_TITLES = {
    "area_bbox": "size of the box along the axes",
    "area_filled": "size with holes filled",
    "area_convex": "area of the convex hull",
    "axis_major_length": "major axis, of voxel centres",
    "axis_minor_length": "minor axis, of voxel centres",
    "equivalent_diameter_area": "diameter of the ball or disc of that size",
    "euler_number": "Euler number",
    "extent": "share of the box that is filled",
    "feret_diameter_max": "largest diameter (Feret)",
    "inertia_tensor_eigvals-0": "inertia tensor, largest eigenvalue",
    "inertia_tensor_eigvals-1": "inertia tensor, second eigenvalue",
    "inertia_tensor_eigvals-2": "inertia tensor, third eigenvalue",
    "mesh_volume": "volume, of the mesh",
    "mesh_extent": "share of the box that is filled, of the mesh",
    "box_short": "box, shortest side",
    "box_middle": "box, middle side",
    "box_long": "box, longest side",
    "box_diagonal": "box, diagonal",
    "box_volume": "box, volume",
    "oriented_box_volume": "turned box, volume",
    "cylinder_volume": "enclosing cylinder, volume",
    "ball_volume": "enclosing ball, volume",
    "hull_volume": "convex hull, volume",
    "hull_area": "convex hull, area",
    "inertia_1": "smallest moment of inertia",
    "inertia_2": "middle moment of inertia",
    "inertia_3": "largest moment of inertia",
    "gaussian_curvature": "Gaussian curvature",
}
"""Features of nuclei whose column is not their name."""


def feature_title(column: str) -> str:
    """Name of a measured feature; docs/profiles.md says what it is."""
    return FEATURE_TITLES.get(column, column.replace("_", " "))


def describe(column: str) -> Metric:
    """Say how a column of the score table is shown; an unknown one appears under its own name."""
    for suffix, pipeline in PIPELINES.items():
        if column.endswith(suffix) and column.removesuffix(suffix) in METRICS:
            return replace(METRICS[column.removesuffix(suffix)], where=pipeline)
    for suffix, place in PLACES.items():
        if column.endswith(suffix) and column.removesuffix(suffix) in METRICS:
            base = METRICS[column.removesuffix(suffix)]
            return replace(base, group=FOREGROUND if base.group == EVERYTHING else base.group, where=place)
    if column not in METRICS:
        return Metric(column, "", "{:.4g}", "", OTHER)
    base = METRICS[column]
    return replace(base, where="whole") if base.group == EVERYTHING else base


def in_order(columns: list[str]) -> list[str]:
    """Sort columns by their group, then as `METRICS` has them; unknown ones come last, as they stand."""
    known = list(METRICS)
    suffixes = ("", *PLACES, *PIPELINES)

    def place(column: str) -> tuple[int, int, int]:
        for number, suffix in enumerate(suffixes):
            base = column.removesuffix(suffix) if column.endswith(suffix) else ""
            if base in known:
                return GROUPS.index(describe(column).group), number, known.index(base)
        return len(GROUPS), 0, 0

    return sorted(columns, key=place)
