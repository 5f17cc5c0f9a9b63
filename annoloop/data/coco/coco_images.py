"""The images of a COCO file against those that are there: which they are, of what size, and where their masks go.

Not here: the entries (``reading.py``).  The fact to know: sizes are those of the picture as it is shown, so one
that was annotated without its EXIF orientation is told, and left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from annoloop.data import png
from annoloop.data.coco.image_finder import ImageFinder
from annoloop.data.coco.json_values import points_outside
from annoloop.data.coco.reading import CocoImage, refuse
from annoloop.data.folders import folder
from annoloop.data.images import image_size_hw
from annoloop.data.remarks import Remarks
from annoloop.data.storage import Location, each
from annoloop.errors import DataError

_SIZE_HINT = "without --images the masks are written as the file says"


@dataclass(frozen=True, slots=True)
class Placed:
    """An image entry with a size, the name below which its mask goes, and whether its image was seen."""

    image: CocoImage
    name: str
    seen: bool


def place_images(
    images: Sequence[CocoImage],
    images_dir: Location | None,
    remarks: Remarks,
    *,
    strip_folders: bool = False,
    most_unseen_px: int,
) -> list[Placed]:
    """The images that masks can be painted for; what is wrong with the others is told.

    Args:
        images_dir: where the images are; a file name means the one that has the longest tail of it.
        strip_folders: only the last part of a file name counts.
        most_unseen_px: larger sizes are believed only where the image has them.
    """
    finder = None if images_dir is None else ImageFinder(folder(images_dir))
    named = [one for image in images if (one := _named(image, images_dir, finder, strip_folders, remarks)) is not None]
    sizes = _sizes(named, images_dir)
    placed = (_sized(one, sizes.get(one.name), remarks) for one in named)
    return [one for one in placed if one is not None and _believed(one, most_unseen_px, remarks)]


def refuse_shared_masks(names: Iterable[tuple[str, object]], where: object) -> None:
    """Raise if two images would have the same mask, from their names and the places of their masks.

    Raises:
        DataError: names all of them.
    """
    by_mask: dict[object, list[str]] = defaultdict(list)
    for name, mask in names:
        by_mask[mask].append(name)
    faults = [f"{' and '.join(same[:3])} would have the same mask {mask}" for mask, same in by_mask.items() if same[1:]]
    refuse(faults, where, "rename one of the images, or convert them one after the other")


def _named(
    image: CocoImage, images_dir: Location | None, finder: ImageFinder | None, strip_folders: bool, remarks: Remarks
) -> Placed | None:
    name = PurePosixPath(image.file_name).name if strip_folders else image.file_name
    if finder is not None:
        found = finder.find(name)
        if isinstance(found, str):
            return Placed(image, found, seen=True)
        if found is not None:
            said = f"{image.file_name} may be {' or '.join(found[:3])}"
            folders = sorted({str(PurePosixPath(one).parent) for one in found})
            hint = f"--images {images_dir}/{folders[0]}, or whichever of {', '.join(folders[:5])} it is"
            remarks.add("images whose name several files have, left out", said, loss=True, hint=hint)
            return None
        remarks.add(f"images that are not in {images_dir}", image.file_name)
    if points_outside(name):
        hint = "--images DIR finds each by the end of its path; --strip-folders takes the file names alone"
        remarks.add("images whose file_name points outside the folder, left out", name, loss=True, hint=hint)
        return None
    return Placed(image, name, seen=False)


def _sizes(named: Sequence[Placed], images_dir: Location | None) -> dict[str, tuple[int, int] | str]:
    """The size of every image that is there, or why it cannot be told."""
    if images_dir is None:
        return {}
    names = [one.name for one in named if one.seen]

    def look(name: str) -> tuple[int, int] | str:
        try:
            return image_size_hw(images_dir / name)
        except DataError as error:
            return error.message

    return dict(zip(names, each(images_dir, look, names), strict=True))


def _sized(one: Placed, seen: tuple[int, int] | str | None, remarks: Remarks) -> Placed | None:
    told, name = one.image.size_hw, one.image.file_name
    if isinstance(seen, str):
        remarks.add("images that cannot be read, left out", f"{name}: {seen}", loss=True)
        return None
    if told == (0, 0):
        if seen is None:
            hint = "--images DIR: the size of each image is taken from there"
            remarks.add("images without a size that is possible, left out", name, loss=True, hint=hint)
            return None
        remarks.add("images without a size, taken from --images", name)
        return replace(one, image=replace(one.image, size_hw=seen))
    if seen not in (None, told):
        turned = seen == told[::-1]
        why = " (turned by its EXIF orientation, or width and height exchanged?)" if turned else ""
        said = f"{name}: the file says {told[1]} x {told[0]} px, the image is {seen[1]} x {seen[0]}{why}"
        remarks.add("images of another size than the file says, left out", said, loss=True, hint=_SIZE_HINT)
        return None
    return one


def _believed(one: Placed, most_unseen_px: int, remarks: Remarks) -> bool:
    """A few bytes of JSON may claim any size: a very large one is believed where the image is there and has it."""
    height, width = one.image.size_hw
    if height * width <= (png.MOST_PX if one.seen else most_unseen_px):
        return True
    said = (
        f"{one.image.file_name} is said to have {width} x {height} px; more than {most_unseen_px} are believed only"
        f" where the image has them, more than {png.MOST_PX} never"
    )
    hint = "--images names the folder where an image of that name and size lies"
    remarks.add("images of a size that is not believed, left out", said, loss=True, hint=hint)
    return False
