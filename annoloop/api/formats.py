"""Functions for the formats that colleagues send beside COCO: YOLO segmentation text, and CVAT's mask zip.

Not here: how it is done (``loop/``), and COCO (``local.py``).  The fact to know: without a project the classes are
those of the data.
"""

from __future__ import annotations

from collections.abc import Sequence

from annoloop.api.arguments import Place, names_of
from annoloop.data.coco.painting import OverlapRule
from annoloop.data.storage import location
from annoloop.errors import check_argument
from annoloop.loop.conversion import cvat_masks as _cvat
from annoloop.loop.conversion import yolo as _yolo
from annoloop.loop.conversion.cvat_masks import FromCvatReport, ToCvatReport
from annoloop.loop.conversion.yolo import FromYoloReport, ToYoloReport
from annoloop.progress import Track, silent
from annoloop.project.project import Project


def to_yolo(
    project: Project,
    out: Place,
    *,
    splits: Sequence[str] | None = None,
    tolerance_px: float = 1.0,
    track: Track = silent,
) -> ToYoloReport:
    """Write masks as YOLO segmentation text, which is lossy, and count what is lost; as ``annoloop convert to-yolo``.

    Args:
        out: the folder for ``labels/`` and ``data.yaml``.
        splits: default: all.
        tolerance_px: how far outlines are simplified, in px; 0: not at all.

    Raises:
        ConfigError: a split that annoloop.yaml does not name, or a tolerance that cannot be.
        DataError: no mask, one that cannot be used, or a file with other lines in the way.
    """
    check_argument("tolerance_px", tolerance_px, tolerance_px >= 0, "0 or more")
    samples = project.samples(None if splits is None else names_of(splits))
    data, classes = project.config.data, project.classes
    return _yolo.to_yolo(samples, data, classes, location(out), tolerance_px=tolerance_px, track=track)


def from_yolo(
    project: Project | None,
    source: Place,
    out: Place,
    *,
    images_dir: Place | None = None,
    overlap: OverlapRule = "last",
    track: Track = silent,
) -> FromYoloReport:
    """Paint the outlines of a folder of YOLO segmentation text as index PNGs; as ``annoloop convert from-yolo``.

    Args:
        project: whose classes and way of storing masks count; None: the classes of ``data.yaml``.
        source: the folder with ``data.yaml``.
        images_dir: folder of the images, whose sizes are needed; default: ``source``.
        overlap: which of two objects of different classes is seen where both are.

    Raises:
        DataError: no names, no label file with an image, nothing that can be used, or another mask in the way.
    """
    return _yolo.from_yolo(
        location(source),
        location(out),
        None if project is None else project.config.data,
        None if project is None else project.classes,
        images_dir=None if images_dir is None else location(images_dir),
        overlap=overlap,
        track=track,
    )


def to_cvat(
    project: Project, out: Place, *, splits: Sequence[str] | None = None, track: Track = silent
) -> ToCvatReport:
    """Write masks as CVAT's "Segmentation mask 1.1" zip, bit-identical; as ``annoloop convert to-cvat``.

    Args:
        out: the file.
        splits: default: all.

    Raises:
        ConfigError: a split that annoloop.yaml does not name.
        DataError: no mask, one that cannot be used, or a class name that the format cannot hold.
    """
    samples = project.samples(None if splits is None else names_of(splits))
    return _cvat.to_cvat(samples, project.config.data, project.classes, location(out), track=track)


def from_cvat(project: Project | None, file: Place, out: Place, *, track: Track = silent) -> FromCvatReport:
    """Write the masks of CVAT's "Segmentation mask 1.1" zip as index PNGs; as ``annoloop convert from-cvat``.

    Args:
        project: whose classes and way of storing masks count; None: the classes of the file.

    Raises:
        DataError: not such a zip, nothing in it that can be used, or another mask in the way.
    """
    data, classes = (None, None) if project is None else (project.config.data, project.classes)
    return _cvat.from_cvat(location(file), location(out), data, classes, track=track)
