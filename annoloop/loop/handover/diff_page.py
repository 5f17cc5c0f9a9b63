"""The HTML page of ``annoloop diff``: its figures, and the masks that changed most, before and after.

Knows how a report looks, not how it comes about.  The fact to know: a page that somebody else put there stays.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from annoloop.data.images import read_image, write_atomic
from annoloop.errors import AnnoloopError, DataError
from annoloop.loop.handover.compare import DiffReport, MaskDiff, label_map_of
from annoloop.loop.handover.sides import Side
from annoloop.progress import Track, silent
from annoloop.project.project import Project
from annoloop.reports import page
from annoloop.reports.context import change_picture

MOST_PICTURES = 24
_MOST_ROWS = 200


@dataclass(frozen=True, slots=True)
class _Shown:
    name: str
    caption: str
    uri: str


def require_page(out: Path | None) -> None:
    """Raise where something is in the way of a page.

    Raises:
        DataError: it is no page of annoloop.
    """
    if out is not None and out.exists() and not page.is_ours(out):
        raise DataError("is there already, and is no page of annoloop", where=out, hint="choose another --out file")


def write_page(
    project: Project, report: DiffReport, sides: tuple[Side, Side], out: Path | None = None, track: Track = silent
) -> DiffReport:
    """Write the page, default: in ``.annoloop/reports/diff``.

    Returns:
        the report with its page; without one where none was asked for and the project can only be looked at.

    Raises:
        DataError: it cannot be written, or something else is in its place.
    """
    if out is None and project.read_only:
        return report
    require_page(out)
    path = project.report_dir("diff") / "index.html" if out is None else out
    report = replace(report, page=path)
    changed = [one for one in report.masks if one.state == "changed"][:MOST_PICTURES]
    html = page.render(
        "diff.html",
        title=f"{project.config.project}: {report.a} to {report.b}",
        subtitle=f"{report.a}: {report.a_told}. {report.b}: {report.b_told}. {report.compared} images are compared.",
        report=report,
        rows=report.masks[:_MOST_ROWS],
        pictures=list(track(_pictures(project, changed, sides), "drawing changes", len(changed))),
    )
    write_atomic(path, html.encode())
    return report


def _pictures(project: Project, changed: list[MaskDiff], sides: tuple[Side, Side]) -> Iterator[_Shown]:
    """One for each mask whose image is there and fits."""
    samples = {one.id: one for one in project.samples()}
    for one in changed:
        sample = samples.get(one.sample_id)
        masks = [side.masks[one.sample_id] for side in sides]
        if sample is None or one.box_ltrb is None or masks[0] is None or masks[1] is None:
            continue
        try:
            image = read_image(project.on_disk([sample])[0].image)
            before, after = (label_map_of(mask, project) for mask in masks if mask is not None)
        except AnnoloopError:
            continue  # the figures stand without it
        if image.shape[:2] != before.shape:
            continue
        said = f"{sides[0].name} | {sides[1].name}"
        drawn = change_picture(one.sample_id, image, before, after, one.box_ltrb, project.classes, sides=said)
        uri = f"data:image/jpeg;base64,{base64.b64encode(drawn.jpeg).decode()}"
        yield _Shown(one.sample_id, f"{one.changed_px} of {one.px} px changed", uri)
