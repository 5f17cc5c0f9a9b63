"""The HTML page of ``annoloop simulate``, and its JSON beside it.

Knows how a report looks, not how it comes about.  The fact to know: a curve is the mean over the seeds at the same
minutes, and it ends where the first seed's work ends.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from annoloop.data.images import write_atomic
from annoloop.project.project import Project
from annoloop.reports import page, plots
from annoloop.reports.as_json import to_plain
from annoloop.simulation.arms import EVERYTHING, NOTHING
from annoloop.simulation.trial_report import SimulateReport
from annoloop.simulation.trial_rows import Row

_POINTS = 60

Floats = npt.NDArray[np.float64]


def write_page(project: Project, report: SimulateReport, rows: Sequence[Row]) -> SimulateReport:
    """Write ``.annoloop/reports/simulate/index.html`` and ``simulate.json`` beside it.

    Returns:
        the report with its page.

    Raises:
        DataError: the files cannot be written.
    """
    path = project.report_dir("simulate") / "index.html"
    report = replace(report, page=path)
    wanted = [row for row in rows if row.seed < report.seeds and row.arm in {one.arm for one in report.arms}]
    html = page.render(
        "simulate.html",
        title=f"{project.config.project}: what correcting brings",
        subtitle=f"{report.seeds} seeds, {page.percent(report.damaged, 0)} of the training labels damaged,"
        f" {page.percent(report.missing, 0)} taken away; models scored on {report.on}",
        report=report,
        curves=curves(wanted, report.minutes),
        dice=_dice(report),
    )
    write_atomic(path, html.encode())
    write_atomic(path.with_name("simulate.json"), json.dumps(to_plain(report), ensure_ascii=False).encode())
    return report


def curves(rows: Sequence[Row], minutes: float) -> str:
    """Share of the wrong pixels mended against minutes of work, as SVG; up to four times the minutes of the arms."""
    arms = dict.fromkeys(row.arm for row in rows if row.arm not in (NOTHING, EVERYTHING))
    series = {arm: _curve([row for row in rows if row.arm == arm], 4 * minutes) for arm in arms}
    return plots.lines(series, x_label="minutes of an annotator", y_label="share of the wrong pixels mended")


def _curve(rows: Sequence[Row], most: float) -> tuple[Floats, Floats]:
    end = min(most, min(row.curve[-1].minutes for row in rows))
    at = np.linspace(0, end, _POINTS)
    heights = [
        np.interp(at, [p.minutes for p in row.curve], [p.mended_px / max(1, row.wrong_px) for p in row.curve])
        for row in rows
    ]
    return at, np.mean(heights, axis=0)


def _dice(report: SimulateReport) -> str | None:
    """Each arm's mDice with its interval, as SVG; None where nothing was trained."""
    known = {one.arm: one.mean_dice for one in report.arms if one.mean_dice is not None}
    if not known:
        return None
    ends = [(v.mean if v.low is None else v.low, v.mean if v.high is None else v.high) for v in known.values()]
    low = max(0.0, min(low for low, _ in ends) - 0.02)
    high = min(1.0, max(high for _, high in ends) + 0.02)
    return plots.bars(
        {arm: one.mean for arm, one in known.items()},
        label=f"mDice on {report.on}",
        intervals=ends,
        limits=(low, high),
    )
