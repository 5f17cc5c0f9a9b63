"""``annoloop export data``: the labels of a round as a data set of mmseg, COCO, YOLO or CVAT, with its manifest.

Not here: the formats (``loop/conversion``), which are given the round's masks in place of those on disk.  The fact to
know: a file of the history is a mask like any other, so no format needs to know of rounds.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias, get_args

from annoloop.compute.workers import spread
from annoloop.data.config import DataConfig
from annoloop.data.images import (
    IndexImage,
    decode_index_png,
    encode_index_png,
    image_size_hw,
    read_bytes,
    sha256,
    write_atomic,
)
from annoloop.data.mmseg_folders import UNLABELLED, Sample, check_label_map, to_label_map
from annoloop.data.storage import RemotePath
from annoloop.errors import ConfigError, DataError, check_argument, some_of
from annoloop.loop.conversion.coco import to_coco
from annoloop.loop.conversion.cvat_masks import to_cvat
from annoloop.loop.conversion.yolo import to_yolo
from annoloop.loop.handover import delivery, manifest
from annoloop.loop.handover.manifest import Entry, Manifest
from annoloop.loop.handover.rounds import Labels, labels_of, samples_with
from annoloop.masks.classes import ClassTable
from annoloop.progress import Track, silent
from annoloop.project.project import Project

Format: TypeAlias = Literal["mmseg", "coco", "yolo", "cvat"]
FORMATS: tuple[Format, ...] = get_args(Format)
Images: TypeAlias = Literal["link", "copy", "none"]
IMAGES: tuple[Images, ...] = get_args(Images)

_WITH_IMAGES = ("mmseg", "yolo")


@dataclass(frozen=True, slots=True)
class ExportDataReport:
    """What was written where: ``state`` is the round, ``masks`` are those in it, ``images`` those put beside them.

    ``without_mask`` had no mask in that round and are left out; ``gone``, ``edited``, ``edited_since``: as ``Labels``.
    """

    out: Path
    manifest: Path
    to: Format
    state: str
    masks: int
    images: int
    content_sha256: str
    without_mask: tuple[str, ...]
    gone: tuple[str, ...]
    edited: tuple[str, ...]
    edited_since: tuple[str, ...]
    notes: tuple[str, ...] = ()


def export_data(
    project: Project,
    out: Path,
    to: Format,
    *,
    round_number: int | None = None,
    splits: Sequence[str] | None = None,
    images: Images | None = None,
    force: bool = False,
    track: Track = silent,
) -> ExportDataReport:
    """Write the labels of a round, or as they are now, in a format that others read, and the hashes of all.

    mmseg and YOLO are folders with ``manifest.json`` in them; COCO and CVAT are files with theirs beside them.

    Args:
        images: beside the masks of mmseg and YOLO: links to the images (the default), copies, or none.
        force: an export that annoloop made there, and that nobody changed since, is replaced.

    Raises:
        LedgerError: no such round, or its masks are not whole in the history.
        ConfigError: a split that annoloop.yaml does not name, or images that cannot go there.
        DataError: no mask, one that cannot be used, or something is in the way.
    """
    check_argument("--to", to, to in FORMATS, f"one of {', '.join(FORMATS)}")
    check_argument("--images", images, images is None or images in IMAGES, f"one of {', '.join(IMAGES)}")
    out = out.resolve()
    chosen = _images_of(project, to, images)
    require_outside(project, out)
    (delivery.require_free_folder if to in _WITH_IMAGES else delivery.require_free_file)(out, force=force)
    labels = labels_of(project, round_number, splits, track)
    samples = samples_with(labels)
    if not any(sample.mask for sample in samples):
        raise DataError(f"no image has a mask in {labels.name}", where=project.config.data.root)
    if to in _WITH_IMAGES:
        return _write_folder(project, out, to, labels, samples, chosen, track)
    return _write_file(project, out, to, labels, samples, track)


def manifest_of(project: Project, made: str, labels: Labels, files: dict[str, str]) -> Manifest:
    """The manifest of a state of the labels and of the files that were made of it."""
    entries = []
    for sample in labels.samples:
        version = labels.masks[sample.id]
        digest = None if version is None else version.sha256
        entries.append(Entry(sample.id, sample.split, labels.images[sample.id], digest))
    entries.sort(key=lambda one: one.id)
    return Manifest(made, labels.name, project.classes.digest, project.classes.names, tuple(entries), files)


def require_unchanged(project: Project, labels: Labels) -> None:
    """Raise where masks on disk became others since a state of the labels was looked up.

    Raises:
        DataError: some did: what was made of them is neither the one nor the other.
    """
    rows = project.scan(labels.samples)
    files = {one.id: one.mask for one in labels.samples}
    versions = ((name, one) for name, one in labels.masks.items() if one is not None and one.file == files[name])
    changed = [name for name, one in versions if rows[name].mask_sha256 != one.sha256]
    if changed:
        raise DataError(f"masks were changed meanwhile: {some_of(changed, 5)}", hint="run again")


def require_outside(project: Project, out: Path) -> None:
    """Raise where files would lie among the project's own images or masks, and be taken for some of them.

    Raises:
        ConfigError: they would.
    """
    for split, below, folder in project.config.data.local_folders():
        if out.is_relative_to(folder):
            raise ConfigError(
                f"lies in {below}, where split {split} has its files", where=out, hint="choose another --out folder"
            )


def _images_of(project: Project, to: Format, images: Images | None) -> Images:
    if to not in _WITH_IMAGES:
        if images not in (None, "none"):
            raise ConfigError(
                f"{to} is one file, beside which no images are put", where="--images", hint="leave it out"
            )
        return "none"
    remote = isinstance(project.config.data.root, RemotePath)
    if remote and images == "link":
        raise ConfigError("images in a store cannot be linked to", where="--images", hint="--images copy, or none")
    return images or ("none" if remote else "link")


def _write_file(
    project: Project, out: Path, to: Format, labels: Labels, samples: list[Sample], track: Track
) -> ExportDataReport:
    data, classes = project.config.data, project.classes
    notes: tuple[str, ...] = ()
    with delivery.new_file(out) as part:
        if to == "coco":
            to_coco(samples, data, classes, part, track=track)
        else:
            recolored = to_cvat(samples, data, classes, part, track=track).recolored
            notes = (f"in another colour, which is not free in CVAT: {some_of(recolored, 5)}",) if recolored else ()
        require_unchanged(project, labels)
        made = manifest_of(project, f"export to {to}", labels, {out.name: sha256(read_bytes(part))})
    beside = delivery.write_manifest(delivery.manifest_beside(out), made)
    return _report(out, beside, to, labels, 0, made, notes)


def _write_folder(
    project: Project, out: Path, to: Format, labels: Labels, samples: list[Sample], images: Images, track: Track
) -> ExportDataReport:
    data, classes = project.config.data, project.classes
    # an unlabelled image belongs to a data set of mmseg only where none is expected to have a mask
    shown = [one for one in samples if one.mask is not None or (to == "mmseg" and one.split == UNLABELLED)]
    with delivery.new_folder(out) as part:
        if to == "mmseg":
            notes = _write_mmseg(samples, data, classes, part, track)
        else:
            lossy = to_yolo(samples, data, classes, part, track=track)
            notes = (f"lossy: {lossy.loss_px} of {lossy.px} px come back as another class", *_ignored(lossy.ignored_px))
        placed = {_image_name(one, to): one for one in shown} if images != "none" else {}
        _put_images(project, part, placed, images, track)
        require_unchanged(project, labels)
        known = {name: labels.images[one.id] for name, one in placed.items()}
        made = manifest_of(project, f"export to {to}", labels, delivery.hashes_below(part, known))
        delivery.write_manifest(part / manifest.FILE_NAME, made)
    return _report(out, out / manifest.FILE_NAME, to, labels, len(placed), made, notes)


def _ignored(px: int) -> tuple[str, ...]:
    return (f"lossy: {px} ignored px come back as a class: YOLO cannot ignore any",) if px else ()


def _report(
    out: Path, beside: Path, to: Format, labels: Labels, images: int, made: Manifest, notes: tuple[str, ...]
) -> ExportDataReport:
    bare = tuple(name for name, one in labels.masks.items() if one is None)
    return ExportDataReport(
        out, beside, to, labels.name, len(labels.masks) - len(bare), images, made.content_sha256, bare, labels.gone,
        labels.edited, labels.edited_since, notes,
    )  # fmt: skip


def _write_mmseg(
    samples: Iterable[Sample], data: DataConfig, classes: ClassTable, out: Path, track: Track
) -> tuple[str, ...]:
    """Index PNGs of class indices in ``ann_dir``, and ``meta.json`` with the classes' names and colours."""
    labelled = [one for one in samples if one.mask is not None]
    write = partial(_write_mask, data=data, classes=classes, out=out)
    again = sum(track(spread(write, labelled), "writing masks", len(labelled)))
    about = {
        "classes": list(classes.names),
        "palette": [list(one.rgb) for one in classes.classes],
        "ignore_index": classes.ignore_index,
        "background": classes.background,
    }
    write_atomic(out / "meta.json", f"{json.dumps(about, ensure_ascii=False, indent=1)}\n".encode(), durable=False)
    return (f"{again} masks are written anew: class indices in place of the stored values or format",) if again else ()


def _write_mask(sample: Sample, data: DataConfig, classes: ClassTable, out: Path) -> bool:
    """One mask, as it is where it is an index PNG of class indices; whether it was made anew."""
    assert sample.mask is not None
    stored = read_bytes(sample.mask)
    image = decode_index_png(stored, sample.mask)
    label_map = to_label_map(image, data, sample.mask)
    check_label_map(label_map, image_size_hw(sample.image), classes, sample.mask)
    is_as_it_is = data.rule() is None and image.form.is_plain and image.values.dtype == label_map.dtype
    target = out / "ann_dir" / f"{sample.id}.png"
    write_atomic(target, stored if is_as_it_is else encode_index_png(IndexImage(label_map)), durable=False)
    return not is_as_it_is


def _image_name(sample: Sample, to: Format) -> str:
    """Where an image lies in an export: named as its mask, or as the text that YOLO looks for."""
    if to == "yolo":
        return f"images/{PurePosixPath(sample.id).with_name(sample.image.name)}"
    return f"img_dir/{sample.id}{PurePosixPath(sample.image.name).suffix}"


def _put_images(project: Project, out: Path, placed: dict[str, Sample], images: Images, track: Track) -> None:
    if images == "copy":
        local = project.copies.fetched([one.image for one in placed.values()], track)
        for name, image in track(zip(placed, local, strict=True), "copying images", len(placed)):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(image, out / name)
        return
    for name, sample in placed.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).symlink_to(str(sample.image))
