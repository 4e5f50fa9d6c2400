"""The public schema of the Wisconsin breast cancer data: ten measures of cell nuclei, each in three ways.

Ranges come from what the measures are (sizes in pixels of a digitised image at fixed magnification, and ratios), not
from the data.
"""

from silogan.common.modality.table import Number, TableSchema

LABEL, CLASSES = "diagnosis", ("benign", "malignant")

_CELLS = 16

_MEASURES = {
    "radius": ((5, 40), (0, 5)),
    "texture": ((5, 60), (0, 8)),
    "perimeter": ((30, 300), (0, 40)),
    "area": ((50, 5000), (0, 800)),
    "smoothness": ((0, 0.4), (0, 0.06)),
    "compactness": ((0, 1.6), (0, 0.3)),
    "concavity": ((0, 2.0), (0, 0.6)),
    "concave points": ((0, 0.5), (0, 0.1)),
    "symmetry": ((0.05, 0.8), (0, 0.15)),
    "fractal dimension": ((0.03, 0.3), (0, 0.06)),
}
"""Of each measure the range, and that of its standard error."""

_SKEWED = ("area", "compactness", "concavity", "concave points")
"""Measures of which most values lie near the lowest; so do all standard errors."""


def schema() -> TableSchema:
    """The schema: 30 columns, named as scikit-learn names them, and the diagnosis, written out."""
    columns = [_column(f"mean {name}", whole, name in _SKEWED) for name, (whole, _) in _MEASURES.items()]
    columns += [_column(f"{name} error", error, True) for name, (_, error) in _MEASURES.items()]
    columns += [_column(f"worst {name}", whole, name in _SKEWED) for name, (whole, _) in _MEASURES.items()]
    return TableSchema(CLASSES, tuple(columns), LABEL, tuple((name,) for name in CLASSES))


def _column(name: str, ends: tuple[float, float], skewed: bool) -> Number:
    """A column in 16 cells, equally wide, or from narrow to wide."""
    low, high = ends
    power = 2 if skewed else 1
    edges = tuple(round(low + (high - low) * (cell / _CELLS) ** power, 6) for cell in range(1, _CELLS))
    return Number("number", name, low, high, edges=edges)
