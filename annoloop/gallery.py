"""Pictures for people: image, truth, prediction and error map side by side; the only home of matplotlib.

The fact to know: errors are told apart by colours that colour-blind people can tell apart too (Okabe &
Ito): missed is orange, invented is blue, confused is purple; the legend is always there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from annoloop.classes import ClassTable
from annoloop.masks import LabelMap
from annoloop.progress import Track, silent

Rgb = npt.NDArray[np.uint8]

ERROR_COLORS = {"missed": (230, 159, 0), "invented": (86, 180, 233), "confused": (204, 121, 167)}
"""Okabe & Ito, Color Universal Design, 2008."""

_IGNORE_RGB = (255, 255, 255)
_OVERLAY = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One row of pictures: image RGB uint8 (H, W, 3), truth and prediction (H, W)."""

    file_name: str
    title: str
    image: Rgb
    truth: LabelMap
    prediction: LabelMap


def colorize(label_map: LabelMap, classes: ClassTable) -> Rgb:
    """A label map in its classes' colours, RGB uint8 (H, W, 3); ignore is white."""
    lookup = np.zeros((256, 3), np.uint8)
    for label_class in classes.classes:
        lookup[label_class.index] = label_class.rgb
    lookup[classes.ignore_index] = _IGNORE_RGB
    return lookup[label_map]


def overlay(image: Rgb, label_map: LabelMap, classes: ClassTable) -> Rgb:
    """The image with everything but background tinted in its class colour."""
    tinted = image * (1 - _OVERLAY) + colorize(label_map, classes) * _OVERLAY
    shown = label_map != classes.fill_index
    return np.where(shown[..., None], tinted, image).astype(np.uint8)


def error_map(truth: LabelMap, prediction: LabelMap, classes: ClassTable, image: Rgb) -> Rgb:
    """A dimmed grey image on which missed, invented and confused pixels are coloured.

    Missed: a class that was taken for background.  Invented: background that was taken for a class.
    Confused: one class taken for another; where there is no background class, every error.
    """
    wrong = (truth != prediction) & (truth != classes.ignore_index)
    background = classes.background_index
    missed = wrong & (prediction == background) if background is not None else np.zeros_like(wrong)
    invented = wrong & (truth == background) if background is not None else np.zeros_like(wrong)
    grey = (image[..., 0].astype(np.uint16) + image[..., 1] + image[..., 2]) // 6 + 20  # half of the channels' mean
    canvas = np.repeat(grey[..., None].astype(np.uint8), 3, axis=2)
    for name, where in (
        ("missed", missed),
        ("invented", invented),
        ("confused", wrong & ~missed & ~invented),
    ):
        canvas[where] = ERROR_COLORS[name]
    return canvas


def font_path() -> Path:
    """DejaVu Sans, which comes with matplotlib: Latin, Greek and Cyrillic, wherever annoloop is installed."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def save_panels(folder: Path, panels: Sequence[Panel], classes: ClassTable, track: Track = silent) -> tuple[Path, ...]:
    """Write one PNG per panel; older panels of the same folder are removed."""
    for old in folder.glob("*.png"):
        old.unlink()
    return tuple(_save(folder / p.file_name, p, classes) for p in track(panels, "drawing panels", len(panels)))


def _save(path: Path, panel: Panel, classes: ClassTable) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = panel.truth.shape
    figure = Figure(figsize=(14, 14 / 4 * height / width + 1.3), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    pictures = {
        "image": panel.image,
        "truth": overlay(panel.image, panel.truth, classes),
        "prediction": overlay(panel.image, panel.prediction, classes),
        "errors": error_map(panel.truth, panel.prediction, classes, panel.image),
    }
    for axes, (name, picture) in zip(figure.subplots(1, 4), pictures.items(), strict=True):
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(name)
        axes.set_axis_off()
    figure.suptitle(panel.title)
    _legend(figure, panel, classes)
    figure.savefig(path)
    return path


def _legend(figure: object, panel: Panel, classes: ClassTable) -> None:
    from matplotlib.patches import Patch

    present = set(np.unique(panel.truth)) | set(np.unique(panel.prediction))
    entries = [
        Patch(facecolor=_unit(c.rgb), edgecolor="grey", label=c.name)
        for c in classes.classes
        if c.index in present and c.index != classes.background_index
    ]
    if classes.ignore_index in present:
        entries.append(Patch(facecolor="white", edgecolor="grey", label="ignore"))
    entries += [Patch(facecolor=_unit(color), edgecolor="grey", label=name) for name, color in ERROR_COLORS.items()]
    figure.legend(handles=entries, loc="outside lower center", ncols=8, frameon=False)  # type: ignore[attr-defined]


def _unit(rgb: tuple[int, int, int]) -> tuple[float, float, float]:
    """A colour as matplotlib wants it, from 0 to 1."""
    return rgb[0] / 255, rgb[1] / 255, rgb[2] / 255
