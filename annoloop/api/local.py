"""Functions for what needs nothing but files: the project, its data, and what happened to it.

Not here: how it is done (``loop/``, ``eda/``).  The fact to know: what changes a project holds its lock meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from annoloop.api.arguments import Place, names_of
from annoloop.data.coco.painting import OverlapRule
from annoloop.data.storage import location
from annoloop.eda import eda as _eda
from annoloop.eda.data_page import save_page
from annoloop.eda.eda import EdaReport
from annoloop.loop import history as _history
from annoloop.loop import status as _status
from annoloop.loop import undo as _undo
from annoloop.loop.conversion import coco as _convert
from annoloop.loop.conversion import colors as _from_colors
from annoloop.loop.conversion.coco import FromCocoReport, ToCocoReport
from annoloop.loop.conversion.colors import FromColorsReport
from annoloop.loop.history import LogEntry
from annoloop.loop.setup import start as _start
from annoloop.loop.setup.start import InitReport
from annoloop.loop.status import StatusReport
from annoloop.loop.undo import UndoReport
from annoloop.progress import Track, silent
from annoloop.project import project as _project
from annoloop.project.project import Project


def open_project(folder: str | Path | None = None) -> Project:
    """Open the project in a folder; its ``with`` block, or ``close()``, ends it.

    Args:
        folder: where annoloop.yaml is, or a folder below; default: found upwards from the working folder.

    Returns:
        the project; ``recovered`` says what a killed command had left and opening it finished.

    Raises:
        ConfigError: there is no annoloop.yaml, or it has faults.
        LedgerError: the ledger cannot be opened.
    """
    return _project.open_project(None if folder is None else Path(folder))


def init(
    data_root: Place,
    folder: str | Path = ".",
    *,
    classes: Sequence[str] = (),
    palette: Sequence[str] = (),
    background: str | None = None,
    images: str = "",
    masks: str = "",
    values: Mapping[int, int | str] | None = None,
    val_share: float | None = None,
    reduce_zero_label: bool | None = None,
    force: bool = False,
    track: Track = silent,
) -> InitReport:
    """Look at a folder, whatever its layout, and write ``folder/annoloop.yaml``; as ``annoloop init``.

    Args:
        classes: their names in index order; default: those that a file beside the data tells, or made up.
        palette: their colours, like "#e6194b", in the same order.
        background: the class of pixels that no shape covers.
        images: which images, where there are several sets: part of a name, like ".jpg".
        masks: which masks, where there are several sets: part of a name, like ".ah.png".
        values: what stored values mean, by index or name, like {255: 1}.
        val_share: share of train, 0 ... 1, that is drawn for val where there is no val split.
        reduce_zero_label: a stored 0 is ignored, and 1 is the first class; None: by what is found.
        force: replace an annoloop.yaml that is there.

    Returns:
        the file, images per split, what was chosen and why, and what looked odd.

    Raises:
        ConfigError: there is an annoloop.yaml already, or what is asked for does not fit.
        DataError: no image has a mask, or the masks cannot be used as they are.
    """
    return _start.init(
        location(data_root),
        Path(folder),
        classes=names_of(classes),
        palette=names_of(palette),
        background=background,
        images=images,
        masks=masks,
        values=values,
        val_share=val_share,
        reduce_zero_label=reduce_zero_label,
        force=force,
        track=track,
    )


def data_report(
    project: Project,
    *,
    splits: Sequence[str] | None = None,
    out: str | Path | None = None,
    track: Track = silent,
) -> EdaReport:
    """What the data are like and what is wrong with them, as one HTML page; as ``annoloop eda``.

    Not named like the command, because ``annoloop.eda`` is the package that does it.

    Args:
        splits: default: all.
        out: the HTML file; default: in .annoloop/reports/eda.

    Returns:
        splits, classes and findings; ``page`` is the file.

    Raises:
        ConfigError: a split that annoloop.yaml does not name.
        DataError: a split's folder is missing, or the page cannot be written.
    """
    report = _eda.eda(project, splits=None if splits is None else names_of(splits), track=track)
    return save_page(project, report, None if out is None else Path(out), track)


def to_coco(
    project: Project,
    out: Place,
    *,
    splits: Sequence[str] | None = None,
    min_region_px: int = 0,
    track: Track = silent,
) -> ToCocoReport:
    """Write masks as one COCO instances JSON, bit-identical; as ``annoloop convert to-coco``.

    Args:
        out: the file; of one that is there only masks that changed since are made anew.
        splits: default: all.
        min_region_px: smaller specks of a class, in px of area, share one annotation.

    Raises:
        ConfigError: a split that annoloop.yaml does not name.
        DataError: no mask, one that cannot be used, or the file cannot be written.
    """
    samples = project.samples(None if splits is None else names_of(splits))
    return _convert.to_coco(
        samples, project.config.data, project.classes, location(out), min_region_px=min_region_px, track=track
    )


def from_coco(
    project: Project | None,
    file: Place,
    out: Place,
    *,
    images_dir: Place | None = None,
    segments_dir: Place | None = None,
    overlap: OverlapRule = "last",
    strip_folders: bool = False,
    track: Track = silent,
) -> FromCocoReport:
    """Paint the annotations of a COCO file as index PNGs below ``out``; as ``annoloop convert from-coco``.

    Args:
        project: whose classes and way of storing masks count; None: the classes of the file.
        images_dir: folder of the images: names and sizes are compared with them.
        segments_dir: folder of the PNGs of a panoptic file; default: named as the file, or beside it.
        overlap: which of two annotations of different classes is seen where both are.
        strip_folders: only the last part of each file name counts.

    Raises:
        DataError: not a COCO file, nothing in it that can be used, or another mask in the way.
    """
    return _convert.from_coco(
        location(file),
        location(out),
        None if project is None else project.config.data,
        None if project is None else project.classes,
        images_dir=None if images_dir is None else location(images_dir),
        segments_dir=None if segments_dir is None else location(segments_dir),
        overlap=overlap,
        strip_folders=strip_folders,
        track=track,
    )


def from_colors(
    project: Project | None,
    masks: Place,
    out: Place | None = None,
    *,
    suffix: str = "",
    classes: Sequence[str] = (),
    palette: Sequence[str] = (),
    ignore: Sequence[str] = (),
    track: Track = silent,
) -> FromColorsReport:
    """Make index PNGs of masks whose classes are colours, beside them; as ``annoloop convert from-colors``.

    Args:
        project: whose classes count; None: those of ``classes``, or of a file by the masks.
        out: default: the folder's name with ``-index``.
        suffix: how the names of masks end, where other pictures lie between them.
        classes: names in index order, and ``palette`` their colours, like "#e6194b".
        ignore: colours of pixels that are ignored.

    Raises:
        ConfigError: no palette, or one that does not tell classes apart.
        DataError: colours that are no class's, with counts; a mask that cannot be read; another file in the way.
    """
    place = location(masks)
    table = None if project is None else project.classes
    where = "" if project is None else str(project.path)
    given = _from_colors.palette_given(names_of(classes), names_of(palette))
    return _from_colors.from_colors(
        place,
        given or _from_colors.palette_for(place, table, where),
        None if out is None else location(out),
        suffix=suffix,
        ignored=names_of(ignore),
        track=track,
    )


def status(project: Project) -> StatusReport:
    """Where the loop stands, and the next sensible command; opens no image and asks no server."""
    return _status.status(project)


def history(project: Project) -> list[LogEntry]:
    """Trainings with their mDice, pushes, pulls and undos, oldest first; as ``annoloop log``."""
    return _history.log(project)


def undo(project: Project, *, force: bool = False) -> UndoReport:
    """Take the newest pull back: its masks as they were before; as ``annoloop undo``.

    Args:
        force: restore masks that were edited since, too.

    Raises:
        LedgerError: there is nothing to undo, or another annoloop is at work in the project.
        DataError: a mask was edited since.
    """
    with project.locked("undo"):
        return _undo.undo(project, force=force)
