"""Charts as SVG text for reports, and rows of pictures as PNG; the only home of matplotlib.

Knows numbers and names only; what they mean is the report's business.  The fact to know: colours come from
Okabe & Ito's palette unless the caller has classes of its own to show, so that everybody can tell them apart.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Rgb: TypeAlias = npt.NDArray[np.uint8]
"""A picture, uint8 (H, W, 3)."""

Color: TypeAlias = tuple[int, int, int]
"""Red, green and blue, 0 ... 255."""

Floats: TypeAlias = npt.NDArray[np.float64]

INK = (64, 64, 64)
ACCENT = (0, 114, 178)
PALETTE: tuple[Color, ...] = (
    ACCENT, (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0), (240, 228, 66), (0, 0, 0),
)  # fmt: skip
"""Okabe & Ito, Color Universal Design, 2008."""

_WIDTH_IN = 6.4
_ROW_IN = 0.28
_MOST_MARKERS = 40
"""A line of more points is drawn without dots."""

_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: smaller, and it can be searched
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": "#404040",
    "xtick.color": "#404040",
    "ytick.color": "#404040",
}


def bars(
    values: Mapping[str, float],
    *,
    label: str,
    colors: Sequence[Color] = (),
    intervals: Sequence[tuple[float, float]] = (),
    logarithmic: bool = False,
    limits: tuple[float, float] | None = None,
) -> str:
    """One horizontal bar per name, the first on top; ``intervals`` (low, high) are drawn as whiskers."""
    figure, axes = _figure(_WIDTH_IN, 0.7 + _ROW_IN * len(values))
    rows = np.arange(len(values))
    heights = np.array([0.0 if np.isnan(v) else v for v in values.values()])
    fill = [_unit(colors[i % len(colors)] if colors else ACCENT) for i in range(len(values))]
    axes.barh(rows, heights, color=fill, edgecolor="#888888", linewidth=0.5, height=0.7, log=logarithmic)
    if intervals:
        low, high = np.array(intervals, np.float64).T
        whiskers = np.nan_to_num(np.clip([heights - low, high - heights], 0, None))
        axes.errorbar(heights, rows, xerr=whiskers, fmt="none", ecolor=_unit(INK), capsize=2.5, linewidth=1)
    axes.set_yticks(rows, [_plain(name) for name in values])
    axes.invert_yaxis()
    axes.set_xlabel(label)
    if limits is not None:
        axes.set_xlim(*limits)
    return _svg(figure)


def histogram(
    values: npt.ArrayLike, *, label: str, bins: int | Sequence[float] = 20, range_: tuple[float, float] | None = None
) -> str:
    """How often values occur; ``range_`` fixes the axis."""
    figure, axes = _figure(_WIDTH_IN / 2, 2.2)
    axes.hist(np.asarray(values, np.float64), bins=bins, range=range_, color=_unit(ACCENT), edgecolor="white", lw=0.5)
    axes.set_xlabel(label)
    axes.set_ylabel("images")
    return _svg(figure)


def steps(
    edges: npt.ArrayLike,
    series: Mapping[str, npt.ArrayLike],
    *,
    x_label: str,
    y_label: str,
    colors: Sequence[Color] = PALETTE,
    logarithmic: bool = False,
) -> str:
    """What was counted in bins (B + 1 edges), one outline of B heights per name; ``logarithmic`` is the x axis.

    Few edges have a number, in plain digits.
    """
    figure, axes = _figure(_WIDTH_IN / 2, 2.2)
    for number, (name, heights) in enumerate(series.items()):
        color = _unit(colors[number % len(colors)])
        axes.stairs(np.asarray(heights), np.asarray(edges), fill=True, color=(*color, 0.25 if len(series) > 1 else 0.8))
        axes.stairs(np.asarray(heights), np.asarray(edges), color=color, linewidth=1.4, label=name)
    if logarithmic:
        axes.set_xscale("log")
        numbered = np.asarray(edges)[:: 1 + len(np.asarray(edges)) // 6]
        axes.set_xticks(numbered, [f"{edge:.0f}" for edge in numbered])
        axes.set_xticks([], minor=True)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_ylim(bottom=0)
    if len(series) > 1:
        axes.legend(frameon=False)
    return _svg(figure)


def lines(
    series: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    *,
    x_label: str,
    y_label: str,
    diagonal: bool = False,
    limits: tuple[float, float] | None = None,
) -> str:
    """One line (x, y) per name, with a legend; ``diagonal`` adds y = x; ``limits`` are of y."""
    figure, axes = _figure(_WIDTH_IN, 2.8)
    for number, (name, (x, y)) in enumerate(series.items()):
        color = _unit(PALETTE[number % len(PALETTE)])
        marker = "o" if len(np.asarray(x)) <= _MOST_MARKERS else ""
        axes.plot(np.asarray(x), np.asarray(y), label=_plain(name), color=color, marker=marker, ms=3, lw=1.4)
    if diagonal:
        axes.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle="--", label="ideal")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.25)
    if limits is not None:
        axes.set_ylim(*limits)
    if len(series) > 1 or diagonal:
        axes.legend(frameon=False)
    return _svg(figure)


def matrix(values: Floats, names: Sequence[str], *, x_label: str, y_label: str) -> str:
    """A square of shares (K, K) from 0 to 1 with their numbers in it where there is room; NaN stays white."""
    side = min(9.0, 1.6 + 0.5 * len(names))
    figure, axes = _figure(side, side)
    axes.imshow(values, cmap="cividis", vmin=0, vmax=1)
    shown = [_plain(name) for name in names]
    axes.set_xticks(range(len(names)), shown, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), shown)
    if len(names) <= 20:
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                text = f"{value:.2f}".removeprefix("0") if value < 1 else "1"
                axes.text(column, row, text, ha="center", va="center", fontsize=7.5,
                          color="black" if value > 0.55 else "white")  # fmt: skip
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return _svg(figure)


def points(x: npt.ArrayLike, y: npt.ArrayLike, *, x_label: str, y_label: str) -> str:
    """Points between 0 and 1 over the diagonal: above it y is the larger."""
    figure, axes = _figure(3.4, 3.4)
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle="--")
    axes.scatter(np.asarray(x), np.asarray(y), s=9, color=_unit(ACCENT), alpha=0.6, linewidths=0)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return _svg(figure)


def heat(values: Floats) -> Rgb:
    """A map (H, W) of values from 0 to 1 in colours, dark to light, as a picture."""
    import matplotlib as mpl

    shown: Rgb = (mpl.colormaps["cividis"](np.clip(values, 0, 1))[..., :3] * 255).round().astype(np.uint8)
    return shown


def font_path() -> Path:
    """DejaVu Sans, which comes with matplotlib: Latin, Greek and Cyrillic, wherever annoloop is installed."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def save_row(path: Path, title: str, pictures: Mapping[str, Rgb], legend: Sequence[tuple[str, Color]]) -> Path:
    """Pictures of one size side by side, each under its name, with a legend below, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    height, width = next(iter(pictures.values())).shape[:2]
    figure = Figure(figsize=(14, 14 / len(pictures) * height / width + 1.3), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, picture) in zip(figure.subplots(1, len(pictures)), pictures.items(), strict=True):
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(name)
        axes.set_axis_off()
    figure.suptitle(title)
    handles = [Patch(facecolor=_unit(color), edgecolor="grey", label=name) for name, color in legend]
    figure.legend(handles=handles, loc="outside lower center", ncols=8, frameon=False)
    figure.savefig(path)
    return path


def _figure(width_in: float, height_in: float) -> tuple[Any, Any]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        return figure, figure.subplots()


def _svg(figure: Any) -> str:
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]  # without the XML prologue, which has no place inside a page


def _plain(name: str) -> str:
    """A name as it is: between two dollar signs matplotlib would read a formula."""
    return name.replace("$", r"\$")


def _unit(rgb: Color) -> tuple[float, float, float]:
    """A colour as matplotlib wants it, from 0 to 1."""
    return rgb[0] / 255, rgb[1] / 255, rgb[2] / 255
