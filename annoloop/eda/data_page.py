"""The HTML page of ``annoloop eda``, and its JSON beside it.

Knows how a report looks, not how it comes about.  The fact to know: only the few files that are shown are read
again, most serious first and a few of each kind, so that one kind does not crowd out the others.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from annoloop.data.images import read_image, write_atomic
from annoloop.data.mmseg_folders import read_label_map
from annoloop.eda.eda import ClassFacts, EdaReport
from annoloop.eda.findings import KINDS, Finding, Kind
from annoloop.errors import DataError
from annoloop.masks.classes import IGNORE_LABEL, ClassTable
from annoloop.masks.regions import LabelMap
from annoloop.progress import Track, silent
from annoloop.project.project import Project
from annoloop.reports import page, plots
from annoloop.reports.as_json import to_plain
from annoloop.reports.gallery import close_up, colorize, framed, overlay
from annoloop.reports.plots import Rgb

MOST_PANELS = 36
MOST_OF_A_KIND = 4
MOST_LISTED = 50
"""Findings of one kind that the page lists; the JSON beside it has more."""

_MOST_CHARTS = 24
_MOST_MAPS = 64
_SMALL_PX = 128
"""In a smaller picture every pixel counts, and JPEG would blur the colour of one alone."""

_LEVELS_PER_BIN = 8


@dataclass(frozen=True, slots=True)
class _Panel:
    """What was found in one file, and pictures of it as data URIs by their names."""

    finding: Finding
    place: str
    pictures: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Group:
    """All findings of one kind: how many, how many are drawn, and others without pictures."""

    name: str
    kind: Kind
    count: int
    drawn: int
    listed: tuple[Finding, ...]


def save_page(project: Project, report: EdaReport, out: Path | None = None, track: Track = silent) -> EdaReport:
    """Write the page (default: ``.annoloop/reports/eda/index.html``) and ``eda.json`` beside it.

    Returns:
        the report with its page.

    Raises:
        DataError: the files cannot be written.
    """
    path = project.report_dir("eda") / "index.html" if out is None else out
    report = replace(report, page=path)
    write_atomic(path, _html(project, report, track).encode())
    write_atomic(path.with_name("eda.json"), json.dumps(to_plain(report), ensure_ascii=False).encode())
    return report


def _html(project: Project, report: EdaReport, track: Track) -> str:
    chosen = list(_chosen(report.findings))
    tried = [_panel(project, report, one) for one in track(chosen, "drawing what was found", len(chosen))]
    panels = [one for one in tried if one.pictures]
    return page.render(
        "eda.html",
        title=f"{report.project}: what the data are like",
        subtitle=f"annoloop eda, {report.root}",
        report=report,
        groups=_groups(report, panels),
        panels=panels,
        entries=[(c.name, c.color) for c in report.classes if c.name != report.background]
        + [(IGNORE_LABEL, "#ffffff")],
        shares=_share_chart(report),
        sizes=[(one, _size_chart(one)) for one in _most_frequent(report)],
        heat=[(one, *_heat_picture(one)) for one in report.classes if one.pixels and one.heat][:_MOST_MAPS],
        together=_together_chart(report),
        levels=_level_charts(report),
    )


def _groups(report: EdaReport, panels: Iterable[_Panel]) -> list[_Group]:
    drawn = {id(one.finding) for one in panels}
    groups = []
    for name, count in report.counts.items():
        found = [one for one in report.findings if one.kind == name]
        rest = [one for one in found if id(one) not in drawn]
        groups.append(_Group(name, KINDS[name], count, len(found) - len(rest), tuple(rest[:MOST_LISTED])))
    return groups


def _chosen(findings: Iterable[Finding]) -> Iterator[Finding]:
    """What is drawn: a few of each kind, of a file only what is most serious."""
    files: set[str] = set()
    kinds: Counter[str] = Counter()
    for one in findings:
        if one.sample_id is None or one.where in files or kinds[one.kind] == MOST_OF_A_KIND:
            continue
        if len(files) == MOST_PANELS:
            return
        files.add(one.where)
        kinds[one.kind] += 1
        yield one


def _panel(project: Project, report: EdaReport, one: Finding) -> _Panel:
    pictures = {}
    with suppress(DataError):  # what cannot be read cannot be shown
        for name, rgb in _pictures(project, one):
            pictures[name] = page.picture(rgb, photo=max(rgb.shape) > _SMALL_PX)
    return _Panel(one, report.place(one), pictures)


def _pictures(project: Project, one: Finding) -> Iterator[tuple[str, Rgb]]:
    assert one.sample_id is not None
    image = read_image(project.image_path(one.sample_id))
    yield "image", image
    if one.kind == "colour mask":
        yield "mask as it is", read_image(project.mask_path(one.sample_id))
    elif project.mask_path(one.sample_id).is_file():
        label_map = _label_map(project, one.sample_id)
        labels = _drawn(image, label_map, project.classes)
        yield "labels", labels if one.box_ltrb is None else framed(labels, one.box_ltrb)
        if one.box_ltrb is not None:  # without the image, whose noise would hide a few pixels
            yield "labels, close up", close_up(colorize(label_map, project.classes), one.box_ltrb)
    if one.other_id is not None:
        other = read_image(project.image_path(one.other_id))
        if one.kind == "contradicting labels":
            other = _drawn(other, _label_map(project, one.other_id), project.classes)
        yield one.other_id, other


def _label_map(project: Project, sample_id: str) -> LabelMap:
    return read_label_map(project.mask_path(sample_id), project.config.data)


def _drawn(image: Rgb, label_map: LabelMap, classes: ClassTable) -> Rgb:
    """Labels on their image; by themselves where they have another size."""
    fits = label_map.shape == image.shape[:2]
    return overlay(image, label_map, classes) if fits else colorize(label_map, classes)


def _share_chart(report: EdaReport) -> str:
    present = [one for one in report.classes if one.pixels]
    if not present:
        return ""
    shares = {one.name: 100 * one.share for one in present}
    colors = [_rgb(one) for one in present]
    # A logarithmic bar has no natural foot: a third of the smallest lets that one be seen.
    limits = (10 ** np.floor(np.log10(min(shares.values()) / 3)), 100.0)
    return plots.bars(shares, label="% of the labelled pixels", colors=colors, logarithmic=True, limits=limits)


def _most_frequent(report: EdaReport) -> list[ClassFacts]:
    """Foreground classes in their order, but no more than can be looked at."""
    found = [one for one in report.classes if one.components and one.name != report.background]
    kept = {one.name for one in sorted(found, key=lambda one: -one.pixels)[:_MOST_CHARTS]}
    return [one for one in found if one.name in kept]


def _size_chart(one: ClassFacts) -> str:
    first = next(number for number, count in enumerate(one.sizes) if count)
    edges = 2.0 ** (np.arange(first, len(one.sizes) + 1) / 2)
    return plots.steps(
        edges, {one.name: one.sizes[first:]}, x_label="px", y_label="connected areas", colors=[_rgb(one)],
        logarithmic=True,
    )  # fmt: skip


def _heat_picture(one: ClassFacts) -> tuple[str, float]:
    """The map as a picture, brightest where the class is most often, and in how many % of the masks it is there."""
    percent = np.array(one.heat)
    most = float(percent.max())
    return page.picture(plots.heat(percent / max(most, 1e-9)), photo=False), most


def _together_chart(report: EdaReport) -> str:
    seen = [number for number, one in enumerate(report.classes) if one.images and one.name != report.background]
    present = sorted(sorted(seen, key=lambda number: -report.classes[number].images)[:_MOST_MAPS])
    if len(present) < 2 or not report.together:
        return ""
    shares = np.array(report.together, np.float64)[np.ix_(present, present)]
    names = [report.classes[number].name for number in present]
    return plots.matrix(shares, names, x_label="also holds", y_label="an image that holds")


def _level_charts(report: EdaReport) -> list[tuple[str, str]]:
    """Brightness and contrast of the splits, as shares of their images so that they can be compared."""
    splits = [one for one in report.splits if one.readable]
    if not splits:
        return []
    charts = []
    for caption, label, name in (
        ("Brightness", "mean grey level of an image", "brightness"),
        ("Contrast", "standard deviation of its grey levels", "contrast"),
    ):
        shares = {one.split: 100 * np.array(getattr(one, name)) / one.readable for one in splits}
        used = np.flatnonzero(sum(shares.values()))
        first, last = max(0, used[0] - 1), used[-1] + 2
        edges = _LEVELS_PER_BIN * np.arange(first, last + 1)
        shown = {split: np.r_[values, 0][first:last] for split, values in shares.items()}
        charts.append((caption, plots.steps(edges, shown, x_label=label, y_label="% of the images")))
    return charts


def _rgb(one: ClassFacts) -> plots.Color:
    return int(one.color[1:3], 16), int(one.color[3:5], 16), int(one.color[5:7], 16)
