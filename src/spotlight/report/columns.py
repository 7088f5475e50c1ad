"""Names of the columns that are no metrics: whose scores a row holds, and features of nuclei."""

KEYS = ("stack", "method", "seed", "pipeline")
"""Columns that say whose scores a row holds."""

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
