"""``annoloop convert from-colors``: index masks beside masks whose classes are colours.

Folders in, folders out; not here: where the palette comes from (``palette_of_folder`` looks for a file).  The facts to
know: nothing is written over, nothing is written at all while a colour is unknown, and every pixel of the result has
the index of exactly its colour.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

from annoloop.data import config as configuration
from annoloop.data.folders import folder
from annoloop.data.images import (
    IMAGE_SUFFIXES,
    IndexImage,
    decode_index_png,
    encode_index_png,
    read_bytes,
    unreadable,
    write_atomic,
)
from annoloop.data.layouts.class_names import is_known, rank, read_names
from annoloop.data.storage import Location, each, location
from annoloop.errors import ColourMaskError, ConfigError, DataError
from annoloop.masks.classes import MAX_CLASSES, NARROW_IGNORE, WIDE_IGNORE, ClassTable
from annoloop.masks.regions import LabelMap
from annoloop.progress import Track, silent

_SUFFIXES = (*IMAGE_SUFFIXES, ".gif")
_SHOWN = 12
_LOSSY = ("JPEG", "WEBP")


@dataclass(frozen=True, slots=True)
class FromColorsReport:
    """Where the index masks are, how many were written or were there, and the palette: name, colour, index."""

    folder: Location
    written: int
    unchanged: int
    classes: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Palette:
    """Names and colours in index order, colours of ignored pixels, and where they come from."""

    names: tuple[str, ...]
    colors: tuple[str, ...]
    ignore_index: int | None = None
    source: str = "--palette"
    ignored: tuple[str, ...] = ()

    @property
    def ignored_index(self) -> int:
        """What ignored pixels become: ``ignore_index``, or where that is None the one that so many classes need."""
        if self.ignore_index is not None:
            return self.ignore_index
        return NARROW_IGNORE if len(self.names) <= MAX_CLASSES else WIDE_IGNORE

    @classmethod
    def of(cls, classes: ClassTable, source: str) -> Palette:
        """That of a project."""
        return cls(classes.names, tuple(c.color for c in classes.classes), classes.ignore_index, source)

    def with_colors_of(self, other: Palette) -> Palette:
        """The same classes in the colours of another palette, which names all of them; else as it is."""
        theirs = dict(zip(other.names, other.colors, strict=True))
        if set(theirs) != set(self.names):
            return self
        colors = tuple(theirs[name] for name in self.names)
        return Palette(self.names, colors, self.ignore_index, other.source, other.ignored)

    def codes(self, ignored: Sequence[str]) -> dict[int, int]:
        """The index of each colour, as one number 0xRRGGBB.

        Raises:
            ConfigError: two classes have one colour, or one that is no colour.
        """
        found: dict[int, int] = {}
        named = [
            *zip(self.colors, range(len(self.colors)), strict=True),
            *((c, self.ignored_index) for c in (*self.ignored, *ignored)),
        ]
        for color, index in named:
            if len(color) != 7 or not color.startswith("#"):
                raise ConfigError(f"{color!r} is not a colour like #3cb44b", where=self.source)
            code = int(color[1:], 16)
            if found.setdefault(code, index) != index:
                raise ConfigError(f"{color} stands for two classes: {found[code]} and {index}", where=self.source)
        return found


def from_colors(
    masks: Location,
    palette: Palette,
    out: Location | None = None,
    *,
    suffix: str = "",
    ignored: Sequence[str] = (),
    track: Track = silent,
) -> FromColorsReport:
    """Write an index PNG for every colour mask below a folder, in the same folders below another.

    Masks that hold indices already, in any format, are written with the same indices.

    Args:
        out: default: the folder's name with ``-index``.
        suffix: how the names of masks end; empty: every picture below.
        ignored: colours of pixels that are ignored, as ``#ffffff``.

    Raises:
        ConfigError: the palette does not tell classes apart.
        DataError: a colour is in no palette, with counts; a mask cannot be read; another file is in the way.
    """
    codes = palette.codes(ignored)
    files = folder(masks)
    names = sorted(n for n in files.names() if n.lower().endswith(_SUFFIXES) and n.endswith(suffix))
    if not names:
        raise DataError(f"no masks {suffix or 'of any format'}", where=masks, hint=f"looked for {', '.join(_SUFFIXES)}")
    target = out or beside(masks)
    _refuse_one_for_two(names, masks)
    read = partial(_read, codes=codes)
    unknown: Counter[int] = Counter()
    for _, found in track(each(masks, lambda name: read(files.at(name)), names), "looking at colours", len(names)):
        unknown.update(found)
    if unknown:
        raise DataError(_unknown(unknown, palette), where=masks, hint=_advice(palette))
    written = 0
    for name in track(iter(names), "writing masks", len(names)):
        values, _ = read(files.at(name))
        written += _write(target / PurePosixPath(name).with_suffix(".png").as_posix(), values)
    return FromColorsReport(target, written, len(names) - written, palette.names, palette.source)


def beside(masks: Location) -> Location:
    """Where the index masks of a folder go if nothing else is said."""
    return _above(masks) / f"{masks.name}-index"


def _above(place: Location) -> Location:
    """The folder above; of the top itself."""
    if isinstance(place, Path):
        return place.parent
    above = str(place).rpartition("/")[0]
    return place if above.endswith("/") or "://" not in above else location(above)


def palette_given(names: Sequence[str], colors: Sequence[str]) -> Palette | None:
    """The palette that a person gives; None where they give none.

    Raises:
        ConfigError: not as many colours as names.
    """
    if not names and not colors:
        return None
    if len(names) != len(colors):
        raise ConfigError(f"{len(colors)} colours for {len(names)} classes", where="--palette")
    return Palette(tuple(names), tuple(colors))


def palette_near(masks: Location, project_dir: Path | None) -> Palette:
    """The palette of the project in a folder, or above the working folder, or of a file by the masks.

    Raises:
        ConfigError: there is none, or annoloop.yaml has faults.
    """
    try:
        file = configuration.find((project_dir or Path.cwd()).resolve())
    except ConfigError:
        if project_dir is not None:
            raise
        return palette_for(masks, None, "")
    return palette_for(masks, configuration.load(file).table(), str(file))


def palette_for(masks: Location, project: ClassTable | None, where: str) -> Palette:
    """The palette to take: a project's classes, in the colours of a file by the masks if it names the same ones."""
    told = palette_of_folder(masks)
    if project is None:
        return told or Palette((), (), source="no file")
    own = Palette.of(project, where)
    return own if told is None else own.with_colors_of(told)


def palette_of_folder(masks: Location) -> Palette | None:
    """The palette that a file in a folder, or up to three above, tells: labelmap.txt, meta.json, class_dict.csv, ….

    None where there is none, with which masks that hold indices can still be written.
    """
    place = masks.resolve() if isinstance(masks, Path) else masks
    for _ in range(4):
        here = folder(place)
        names = [one for one in _files_in(place) if is_known(one)]
        for name in sorted(names, key=lambda one: (rank(one), one)):
            told = read_names(name, read_bytes(here.at(name)).decode("utf-8-sig", errors="replace"))
            if told is not None and told.colors and all(told.colors):
                colors = tuple(color for color in told.colors if color)
                return Palette(told.names, colors, source=str(here.at(name)), ignored=told.ignored)
        if place == _above(place):
            break
        place = _above(place)
    return None


def _files_in(place: Location) -> Iterator[str]:
    if isinstance(place, Path):
        yield from (one.name for one in place.iterdir() if one.is_file())
    else:
        yield from (name for name in folder(place).names() if "/" not in name)


def _read(path: Location, codes: Mapping[int, int]) -> tuple[LabelMap, Counter[int]]:
    """Indices (H, W) of a mask, and pixels per colour that has none."""
    data = read_bytes(path)
    try:
        with Image.open(io.BytesIO(data)) as image:
            lossy = image.format in _LOSSY
            in_colour = image.mode in ("RGB", "RGBA", "P")
            pixels = np.asarray(image.convert("RGB")) if in_colour else None
            indexed = image.mode == "P"
    except (OSError, SyntaxError, ValueError, IndexError, Image.DecompressionBombError) as error:
        raise unreadable(path, error) from error
    if lossy:
        raise DataError(
            "is lossy: its colours are only about those that were drawn",
            where=path,
            hint="save the masks as PNG; black and white JPEG masks are read by annoloop init --values 255=1",
        )
    if pixels is None:
        return decode_index_png(data, path).values, Counter()
    values, unknown = _indices(pixels, codes)
    if indexed and unknown and (not codes or all(_is_grey(color) for color in unknown)):
        # no colours that mean anything, but indices with some palette
        return decode_index_png(data, path).values, Counter()
    return values, unknown


def _is_grey(color: int) -> bool:
    return color >> 16 == color >> 8 & 255 == color & 255


def _indices(pixels: npt.NDArray[np.uint8], codes: Mapping[int, int]) -> tuple[LabelMap, Counter[int]]:
    wide = pixels.astype(np.uint32)
    packed = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
    colors, where, counts = np.unique(packed, return_inverse=True, return_counts=True)
    dtype = np.uint8 if max(codes.values(), default=0) <= NARROW_IGNORE else np.uint16
    table = np.array([codes.get(int(color), 0) for color in colors], dtype)
    unknown = Counter({int(c): int(n) for c, n in zip(colors, counts, strict=True) if int(c) not in codes})
    return table[where.reshape(packed.shape)], unknown


def _refuse_one_for_two(names: Sequence[str], masks: Location) -> None:
    targets = Counter(str(PurePosixPath(name).with_suffix("")) for name in names)
    twice = [name for name, count in targets.items() if count > 1]
    if twice:
        raise DataError(
            f"two files would become one mask: {', '.join(f'{name}.*' for name in twice[:5])}",
            where=masks,
            hint="--suffix names those that are masks",
        )


def _unknown(unknown: Counter[int], palette: Palette) -> str:
    listed = ", ".join(f"#{code:06x} ({count} px)" for code, count in unknown.most_common(_SHOWN))
    rest = f", and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    return f"{len(unknown)} colours are in no class of {palette.source}: {listed}{rest}"


def _advice(palette: Palette) -> str:
    if not palette.names:
        return (
            "labelmap.txt beside the masks (lines like cat:250,50,83::), a project's annoloop.yaml, or"
            " --classes background,cat --palette '#000000,#fa3253' tells which class has which colour"
        )
    known = ", ".join(f"{name} {color}" for name, color in zip(palette.names[:_SHOWN], palette.colors, strict=False))
    return (
        f"known are: {known}; add what is missing, or --ignore '#rrggbb' for colours that mean nothing; many colours"
        " that differ little come from smoothing or from JPEG"
    )


def _write(target: Location, values: LabelMap) -> bool:
    """True if the file was written, False if it was there with the same pixels."""
    if target.exists():
        try:
            if np.array_equal(decode_index_png(read_bytes(target), target).values, values):
                return False
        except ColourMaskError:
            pass
        raise DataError("is there already with other pixels", where=target, hint="choose another --out folder")
    write_atomic(target, encode_index_png(IndexImage(values)), durable=False)
    return True
