"""The FiftyOne dataset of a project: its fields, colours and saved views, kept in step with what annoloop knows.

The fact to know: Dice and all other numbers come from our ledger; FiftyOne's own per-sample Dice is a running one and
does not put the worst images first.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annoloop.app.fiftyone_app import fiftyone
from annoloop.data.storage import Location
from annoloop.masks.classes import IGNORE_LABEL, ClassTable
from annoloop.progress import Track, silent
from annoloop.reports.gallery import ERROR_COLORS

PROJECT_KEY = "annoloop_project"
"""Where the dataset's ``info`` holds the folder of its project, for the plugin."""

MARKED_KEY = "annoloop_marked"
"""Where ``info`` holds the ids that had the tag when tags and ledger were last alike."""

MARK_TAG = "next push"
"""Samples with this tag are the first to go into the next task."""

WORST_VIEW = "worst"


@dataclass(frozen=True, slots=True)
class Entry:
    """A sample as the App shows it; numbers belong to ``prediction`` on the present ``truth``, None: not known.

    ``class_dice``: of the classes in truth or prediction.  ``round``: the number of the pull that changed the mask
    last, 0 before any.  ``cvat_*``: where it waits for correction, if it does.  ``history``: oldest first.
    """

    sample_id: str
    image: Location
    split: str
    truth: Location | None
    prediction: Path | None = None
    errors: Path | None = None
    dice: float | None = None
    class_dice: Mapping[str, float] | None = None
    uncertainty: float | None = None
    label_quality: float | None = None
    contradiction: float | None = None
    looks_like: str | None = None
    round: int = 0
    cvat_task: int | None = None
    cvat_job: int | None = None
    cvat_url: str | None = None
    history: tuple[str, ...] = ()
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """What is true of all samples: the project's folder and classes, the run, and the number of the last round.

    ``shows_files``: the masks hold class indices; else class i is i + 1, see ``app_masks.py``.
    """

    project_dir: Path
    classes: ClassTable
    shows_files: bool
    run: int | None
    last_round: int


def update_dataset(name: str, entries: Sequence[Entry], board: Board, track: Track = silent) -> int:
    """Bring the persistent dataset in step; returns how many samples were added, changed or removed.

    Raises:
        MissingExtraError: FiftyOne is not installed.
        ConfigError: no MongoDB to talk to.
    """
    fo = fiftyone()
    dataset = fo.load_dataset(name) if fo.dataset_exists(name) else fo.Dataset(name, persistent=True)
    _describe(dataset, board, fo)
    known = _stored(dataset, board.classes)
    gone = [known[name].id for name in known.keys() - {entry.sample_id for entry in entries}]
    dataset.delete_samples(gone)
    new = [entry for entry in entries if entry.sample_id not in known]
    changed = {
        known[entry.sample_id].id: entry
        for entry in entries
        if entry.sample_id in known and known[entry.sample_id].fields != _fields(entry, board.classes)
    }
    _add(dataset, new, board, track)
    if changed:
        samples = dataset.select(list(changed)).iter_samples(autosave=True)
        for sample in track(samples, "updating FiftyOne", len(changed)):
            _overwrite(sample, changed[sample.id], board, fo)
    _remember_marks(dataset, [entry.sample_id for entry in entries if entry.marked])
    _save_views(dataset, board, fo)
    return len(gone) + len(new) + len(changed)


def _add(dataset: Any, new: Sequence[Entry], board: Board, track: Track) -> None:
    fo = fiftyone()
    fresh = (_new_sample(entry, board, fo) for entry in track(new, "adding to FiftyOne", len(new)))
    gc.freeze()  # else Python looks through FiftyOne's million objects again and again, a third of the time
    try:
        # The fields are there and of their type; to have each sample checked for it takes as long as to add it.
        dataset.add_samples(fresh, expand_schema=False, validate=False, progress=False, num_samples=len(new))
    finally:
        gc.unfreeze()


def marks_set_in_app(name: str) -> tuple[set[str], set[str]]:
    """Ids of samples that people tagged in the App, or took the tag from, since annoloop last looked.

    Raises:
        MissingExtraError: FiftyOne is not installed.
        ConfigError: no MongoDB to talk to.
    """
    fo = fiftyone()
    if not fo.dataset_exists(name):
        return set(), set()
    dataset = fo.load_dataset(name)
    dataset.reload()
    before = set(dataset.info.get(MARKED_KEY, ()))
    if not dataset.has_field("annoloop_id"):
        return set(), set()
    now = set(dataset.match_tags(MARK_TAG).values("annoloop_id"))
    if now != before:
        _remember_marks(dataset, now)
    return now - before, before - now


def set_marks(dataset: Any, sample_ids: Sequence[str], *, marked: bool) -> None:
    """Give samples the tag, or take it, as the ledger has it already."""
    view = dataset.match(fiftyone().ViewField("annoloop_id").is_in(list(sample_ids)))
    (view.tag_samples if marked else view.untag_samples)(MARK_TAG)
    known = set(dataset.info.get(MARKED_KEY, ()))
    _remember_marks(dataset, known | set(sample_ids) if marked else known - set(sample_ids))


_SCALARS = {
    "annoloop_id": "StringField",
    "split": "StringField",
    "dice": "FloatField",
    "uncertainty": "FloatField",
    "label_quality": "FloatField",
    "contradiction": "FloatField",
    "looks_like": "StringField",
    "round": "IntField",
    "cvat_task": "IntField",
    "cvat_job": "IntField",
    "cvat_url": "StringField",
}
"""Plain fields of a sample and their type; each is an attribute of ``Entry``, but for the first, its ``sample_id``."""

_MASKS = ("truth", "prediction", "errors")


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the dataset holds of a sample: FiftyOne's own id, and its fields as ``_fields`` gives them."""

    id: str
    fields: Mapping[str, Any]


def class_fields(classes: ClassTable) -> dict[str, str]:
    """The field of each class's Dice by the class's name: the name, as far as the database takes it."""
    safe = [re.sub(r"\W", "_", name, flags=re.ASCII).strip("_") or "class" for name in classes.names]
    named = [f"{field}_{i}" if safe.count(field) > 1 else field for i, field in enumerate(safe)]
    return {name: f"class_dice.{field}" for name, field in zip(classes.names, named, strict=True)}


def _fields(entry: Entry, classes: ClassTable) -> dict[str, Any]:
    """Everything that is stored of a sample, by its path; equal fields need no rewriting."""
    per_class = entry.class_dice or {}
    return {
        **{name: getattr(entry, name) for name in _SCALARS if name != "annoloop_id"},
        **{f"{name}.mask_path": None if (path := getattr(entry, name)) is None else str(path) for name in _MASKS},
        **{field: per_class.get(name) for name, field in class_fields(classes).items()},
        "annoloop_id": entry.sample_id,
        "filepath": str(entry.image),
        "history": list(entry.history),
        "marked": entry.marked,
    }


def _stored(dataset: Any, classes: ClassTable) -> dict[str, _Stored]:
    """The same as the dataset has it now, by sample id; one query, however many samples."""
    paths = ["id", "tags", "filepath", "history", *_SCALARS, *(f"{name}.mask_path" for name in _MASKS)]
    paths += class_fields(classes).values()
    found = {}
    for values in zip(*dataset.values(paths), strict=True) if len(dataset) else ():
        fields = dict(zip(paths, values, strict=True))
        marked = MARK_TAG in (fields.pop("tags") or ())
        row = _Stored(fields.pop("id"), fields | {"marked": marked, "history": fields["history"] or []})
        found[fields["annoloop_id"]] = row
    return found


def _new_sample(entry: Entry, board: Board, fo: Any) -> Any:
    """All fields at once: to set them one by one takes twice as long."""
    return fo.Sample(filepath=str(entry.image), tags=_tags(entry, ()), **_values(entry, board.classes, fo))


def _overwrite(sample: Any, entry: Entry, board: Board, fo: Any) -> None:
    sample.filepath = str(entry.image)
    sample.tags = _tags(entry, sample.tags)
    for name, value in _values(entry, board.classes, fo).items():
        sample[name] = value


def _values(entry: Entry, classes: ClassTable, fo: Any) -> dict[str, Any]:
    """The fields of a sample that are annoloop's own."""
    paths = {name: getattr(entry, name) for name in _MASKS}
    per_class = entry.class_dice or {}
    by_field = {field.partition(".")[2]: per_class.get(name) for name, field in class_fields(classes).items()}
    return {
        **{name: getattr(entry, name) for name in _SCALARS if name != "annoloop_id"},
        **{name: None if path is None else fo.Segmentation(mask_path=str(path)) for name, path in paths.items()},
        "annoloop_id": entry.sample_id,
        "class_dice": fo.DynamicEmbeddedDocument(**by_field),
        "history": list(entry.history),
    }


def _tags(entry: Entry, present: Iterable[str]) -> list[str]:
    theirs = [tag for tag in present if tag not in (MARK_TAG, entry.split)]  # tags of people's own stay
    return [entry.split, *([MARK_TAG] if entry.marked else []), *theirs]


def _describe(dataset: Any, board: Board, fo: Any) -> None:
    """Fields, class names and colours."""
    dataset.info[PROJECT_KEY] = str(board.project_dir)
    dataset.info["run"] = board.run
    _declare_fields(dataset, board.classes, fo)
    classes, shift = board.classes, 0 if board.shows_files else 1
    ignored = classes.ignore_index if board.shows_files else classes.levels - 1
    targets = {c.index + shift: c.name for c in classes.classes} | {ignored: IGNORE_LABEL}
    colors = [{"intTarget": c.index + shift, "color": c.color} for c in classes.classes]
    kinds = list(ERROR_COLORS)
    dataset.mask_targets = {
        "truth": targets,
        "prediction": targets,
        "errors": dict(enumerate(kinds, 1)),
    }
    error_colors = [
        {"intTarget": number, "color": "#{:02x}{:02x}{:02x}".format(*ERROR_COLORS[name])}
        for number, name in enumerate(kinds, 1)
    ]
    dataset.app_config.color_scheme = fo.ColorScheme(
        color_by="value",
        fields=[
            {"path": "truth", "maskTargetsColors": colors},
            {"path": "prediction", "maskTargetsColors": colors},
            {"path": "errors", "maskTargetsColors": error_colors},
        ],
    )
    dataset.app_config.active_fields = fo.ActiveFields(paths=["truth", "errors", "dice", "looks_like", "split"])
    dataset.app_config.sidebar_groups = _sidebar(dataset, fo)
    dataset.save()


def _sidebar(dataset: Any, fo: Any) -> list[Any]:
    """Our own fields above FiftyOne's, whose groups are folded."""
    groups = {group.name: group for group in fo.DatasetAppConfig.default_sidebar_groups(dataset)}
    ours = fo.SidebarGroupDocument(name="annoloop", paths=[*_SCALARS, "history"])
    first = [groups.pop("tags"), groups.pop("labels"), ours, groups.pop("class_dice")]
    for group in groups.values():
        group.paths = [path for path in group.paths if path not in ours.paths]
        group.expanded = False
    return [*first, *(group for group in groups.values() if group.paths)]


def _declare_fields(dataset: Any, classes: ClassTable, fo: Any) -> None:
    for name, kind in _SCALARS.items():
        if not dataset.has_field(name):
            dataset.add_sample_field(name, getattr(fo, kind))
    for name in _MASKS:
        if not dataset.has_field(name):
            dataset.add_sample_field(name, fo.EmbeddedDocumentField, embedded_doc_type=fo.Segmentation)
    if not dataset.has_field("history"):
        dataset.add_sample_field("history", fo.ListField, subfield=fo.StringField)
    wanted = set(class_fields(classes).values())
    if {path for path in dataset.get_field_schema(flat=True) if path.startswith("class_dice.")} - wanted:
        dataset.delete_sample_field("class_dice")  # of classes that are no more
    if not dataset.has_field("class_dice"):
        dataset.add_sample_field("class_dice", fo.EmbeddedDocumentField, embedded_doc_type=fo.DynamicEmbeddedDocument)
    for field in sorted(wanted):
        if not dataset.has_field(field):
            dataset.add_sample_field(field, fo.FloatField)


def _save_views(dataset: Any, board: Board, fo: Any) -> None:
    field = fo.ViewField
    views = {
        WORST_VIEW: dataset.exists("dice").sort_by("dice"),
        "suspected label errors": dataset.match(field("looks_like") == "label looks wrong").sort_by(
            "contradiction", reverse=True
        ),
        "in CVAT now": dataset.exists("cvat_task").sort_by("cvat_task"),
        "changed last round": dataset.match((field("round") == board.last_round) & (field("round") > 0)),
        "marked for next push": dataset.match_tags(MARK_TAG),
    }
    for name, path in class_fields(board.classes).items():
        views[f"{_OF_CLASS}{name}"] = dataset.exists(path).sort_by(path)
    for name in dataset.list_saved_views():
        if name.startswith(_OF_CLASS) and name not in views:
            dataset.delete_saved_view(name)
    for name, view in views.items():
        dataset.save_view(name, view, overwrite=True)


_OF_CLASS = "worst of "


def _remember_marks(dataset: Any, sample_ids: Iterable[str]) -> None:
    dataset.info[MARKED_KEY] = sorted(sample_ids)
    dataset.save()
