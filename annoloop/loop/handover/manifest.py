"""``manifest.json``: the hashes of a state of the labels, a line for each sample and for each file beside it.

Text in, text out.  The fact to know: the same labels give the same bytes, on any day and any machine, so that git and
DVC see a change only where there is one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from annoloop import __version__
from annoloop.data.images import read_bytes, sha256
from annoloop.data.mmseg_folders import Sample
from annoloop.errors import DataError
from annoloop.project.rows import ImageRow

FILE_NAME = "manifest.json"

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """A sample: its id, its split, and the sha256 of its image and of its mask, None where it has none."""

    id: str
    split: str
    image: str
    mask: str | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a state of the labels consists of.

    ``state``: as "round 3" or "now"; ``made``: "snapshot" or "export to coco"; ``files``: the sha256 of every file
    beside the manifest, by its path below its folder.
    """

    made: str
    state: str
    class_digest: str
    classes: tuple[str, ...]
    samples: tuple[Entry, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    annoloop: str = __version__

    @property
    def content_sha256(self) -> str:
        """Of the labels alone: the same whoever wrote them, with which version, and under which round."""
        return content_sha256(self.class_digest, self.samples)


def content_sha256(class_digest: str, samples: Iterable[Entry]) -> str:
    """Of classes and samples in any order: equal for equal images with equal masks under equal names."""
    lines = [class_digest, *(_line(_plain(one)) for one in sorted(samples, key=lambda one: one.id))]
    return sha256("\n".join(lines).encode())


def entries_of(samples: Iterable[Sample], rows: Mapping[str, ImageRow]) -> tuple[Entry, ...]:
    """The samples as they are on disk; ``rows``: what ``Project.scan`` found of each, by its id."""
    return tuple(Entry(one.id, one.split, rows[one.id].image_sha256, rows[one.id].mask_sha256) for one in samples)


def render(manifest: Manifest) -> bytes:
    """The file of a manifest, its lines sorted; ``parse`` of it gives the same."""
    head = {
        "annoloop manifest": _FORMAT,
        "annoloop": manifest.annoloop,
        "made": manifest.made,
        "state": manifest.state,
        "class_digest": manifest.class_digest,
        "classes": list(manifest.classes),
    }
    samples = [_plain(one) for one in sorted(manifest.samples, key=lambda one: one.id)]
    files = [{"file": name, "sha256": digest} for name, digest in sorted(manifest.files.items())]
    rows = [f"{_line(key)}: {_line(value)}" for key, value in head.items()]
    return ("{\n" + ",\n".join([*rows, _list("samples", samples), _list("files", files)]) + "\n}\n").encode()


def parse(text: bytes, where: object) -> Manifest:
    """The manifest that a file holds; the inverse of ``render``.

    Raises:
        DataError: it is none, or one of a newer annoloop.
    """
    hint = "a manifest is written by annoloop snapshot and annoloop export data"
    try:
        raw: dict[str, Any] = json.loads(text)
        if not isinstance(raw, dict) or "annoloop manifest" not in raw:
            raise DataError("is no manifest of annoloop", where=where, hint=hint)
        if raw["annoloop manifest"] != _FORMAT:
            raise DataError("was written by a newer annoloop", where=where, hint="update annoloop")
        samples = tuple(Entry(*(one[key] for key in ("id", "split", "image", "mask"))) for one in raw["samples"])
        files = {str(one["file"]): str(one["sha256"]) for one in raw["files"]}
        made, state, class_digest, version = (raw[key] for key in ("made", "state", "class_digest", "annoloop"))
        _require_texts(
            [
                made,
                state,
                class_digest,
                version,
                *raw["classes"],
                *(text for one in samples for text in (one.id, one.split, one.image)),
            ]
        )
        _require_texts([one.mask for one in samples if one.mask is not None])
        return Manifest(made, state, class_digest, tuple(raw["classes"]), samples, files, version)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"is no whole manifest ({type(error).__name__}: {error})", where=where, hint=hint) from error


def read(path: Path) -> Manifest:
    """The manifest of a file.

    Raises:
        DataError: it cannot be read, or is none.
    """
    return parse(read_bytes(path), path)


def _require_texts(values: list[Any]) -> None:
    if wrong := [one for one in values if not isinstance(one, str)]:
        raise ValueError(f"{wrong[0]!r} is no text")


def _plain(one: Entry) -> dict[str, str | None]:
    return {"id": one.id, "split": one.split, "image": one.image, "mask": one.mask}


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _list(name: str, rows: list[Any]) -> str:
    return f'"{name}": [\n' + ",\n".join(map(_line, rows)) + "\n]" if rows else f'"{name}": []'
