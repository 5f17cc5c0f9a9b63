"""Functions that give the labels of a round, or a model, to others, and compare labels.

Not here: how it is done (``loop/handover``).  The fact to know: a round is the state after a pull or undo, by the
number that ``annoloop.history`` gives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from annoloop.api.arguments import names_of
from annoloop.loop.handover import compare as _compare
from annoloop.loop.handover import diff_page as _page
from annoloop.loop.handover import export as _export
from annoloop.loop.handover import export_model as _model
from annoloop.loop.handover import snapshot as _snapshot
from annoloop.loop.handover.compare import DiffReport
from annoloop.loop.handover.export import ExportDataReport, Format, Images
from annoloop.loop.handover.export_model import ExportModelReport
from annoloop.loop.handover.model_card import Stated
from annoloop.loop.handover.snapshot import SnapshotReport
from annoloop.progress import Track, silent
from annoloop.project.project import Project
from annoloop.selection.scoring import Watch, unwatched
from annoloop.training.records import ModelFormat


def export_data(
    project: Project,
    to: Format,
    out: str | Path,
    *,
    round_number: int | None = None,
    splits: Sequence[str] | None = None,
    images: Images | None = None,
    force: bool = False,
    track: Track = silent,
) -> ExportDataReport:
    """Write the labels of a round as a data set of another format, with the hashes of all; as ``annoloop export data``.

    Args:
        to: "mmseg" or "yolo", which are folders; "coco" or "cvat", which are files.
        round_number: after the N-th pull or undo, 0 before the first; None: as they are now.
        splits: default: all.
        images: beside the masks of mmseg and YOLO: "link" (the default), "copy" or "none".
        force: an export that is there, and that nobody changed since, is replaced.

    Raises:
        LedgerError: no such round, or its masks are not whole in the history.
        ConfigError: a split that annoloop.yaml does not name, or images that cannot go there.
        DataError: no mask, one that cannot be used, or something is in the way.
    """
    chosen = None if splits is None else names_of(splits)
    return _export.export_data(
        project, Path(out), to, round_number=round_number, splits=chosen, images=images, force=force, track=track
    )


def export_model(
    project: Project,
    out: str | Path,
    *,
    format: ModelFormat = "onnx",
    run: int | None = None,
    check: int | None = None,
    name: str = "",
    author: str = "",
    license: str = "",
    force: bool = False,
    dry_run: bool = False,
    track: Track = silent,
    watch: Watch = unwatched,
) -> ExportModelReport:
    """Write a folder with a model, a script that predicts with it alone, and a card; as ``annoloop export model``.

    The folder is there only if the model in it scores as the run does, within 0.001 of Dice for every class.

    Args:
        out: a folder that is new or empty.
        format: "onnx" or "torchscript".
        run: default: the current model.
        check: so many validation images are compared; default: all.
        name: for the card, as are ``author`` and ``license``.
        force: an export that is there, and that nobody changed since, is replaced.
        dry_run: say what would be written, and write nothing.
        watch: is called with every event of the child processes.

    Raises:
        ConfigError: no such model, one of other classes, or its config was changed since its training.
        LedgerError: there is no such run, or another annoloop is at work in the project.
        MissingExtraError: onnx, onnxruntime, torch or mmseg is not installed.
        DataError: no image to check with, or something is in the way.
        TrainingError: the model cannot be exported, or what was exported does not score as the run does.
    """
    with nullcontext() if dry_run else project.locked("export model"):
        return _model.export_model(
            project, Path(out), format, run_id=run, check=check, stated=Stated(name, author, license), force=force,
            dry_run=dry_run, track=track, watch=watch,
        )  # fmt: skip


def take_snapshot(
    project: Project,
    name: str | None = None,
    *,
    round_number: int | None = None,
    splits: Sequence[str] | None = None,
    out: str | Path | None = None,
    copy: bool = False,
    force: bool = False,
    track: Track = silent,
) -> SnapshotReport:
    """Write the hashes of a round's labels to a manifest for git or DVC; as ``annoloop snapshot``.

    Args:
        name: of a folder in ``.annoloop/snapshots``; default: made of the hashes.
        round_number: after the N-th pull or undo, 0 before the first; None: as they are now.
        splits: default: all.
        out: another folder instead.
        copy: put the masks there, too.
        force: another snapshot there, which nobody changed since, is replaced.

    Raises:
        LedgerError: no such round, or its masks are not whole in the history.
        ConfigError: a split that annoloop.yaml does not name, or a name that cannot be.
        DataError: a file cannot be read, or something is in the way.
    """
    chosen = None if splits is None else names_of(splits)
    folder = None if out is None else Path(out)
    return _snapshot.snapshot(
        project, name, round_number=round_number, splits=chosen, out=folder, copy=copy, force=force, track=track
    )


def compare(
    project: Project,
    a: str | int,
    b: str | int,
    *,
    splits: Sequence[str] | None = None,
    out: str | Path | None = None,
    track: Track = silent,
) -> DiffReport:
    """Which masks differ between two states of the labels, px by class, with a page; as ``annoloop diff``.

    Args:
        a: a round by its number, "now", a run as "run:2", a snapshot's name, folder or manifest, or a folder of masks.
        b: the same.
        splits: default: all.
        out: the HTML file; default: in ``.annoloop/reports/diff``.

    Raises:
        ConfigError: a side that is none, classes other than the project's, or an unknown split.
        LedgerError: no such round or run.
        DataError: no masks there, a file that cannot be read, or one that is in the way of the page.
    """
    file = None if out is None else Path(out)
    _page.require_page(file)
    chosen = None if splits is None else names_of(splits)
    report, one, other = _compare.diff(project, str(a), str(b), splits=chosen, track=track)
    return _page.write_page(project, report, (one, other), file, track)
