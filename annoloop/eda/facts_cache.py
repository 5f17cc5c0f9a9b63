"""The facts of all samples, kept in the ledger: those of files that did not change are not looked for again.

Not here: what follows from the facts (``eda.py``).  The facts to know: what was seen is in the ledger after every few
hundred samples, so a look that was cut short goes on where it was; how an image looks is not among the bytes of its
facts, the ledger has that by its hash; and a sample of which a file cannot be read is not kept, it may be there the
next time.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import partial
from typing import Any

import numpy as np

from annoloop.compute.workers import spread
from annoloop.data.mmseg_folders import Sample
from annoloop.data.storage import each
from annoloop.eda.findings import finding
from annoloop.eda.mask_facts import BINS, CELLS, Frame, MaskFacts, Spot
from annoloop.eda.sample_facts import ImageFacts, SampleFacts, sample_facts
from annoloop.errors import DataError
from annoloop.metrics.perceptual_hash import Look
from annoloop.progress import Track, silent
from annoloop.project.ledger import Ledger
from annoloop.project.project import Project
from annoloop.project.rows import FactRow
from annoloop.project.stamps import stamp

VERSION = 2
"""Of the bytes, and of what they tell of a file: another, and every file has to be looked at again."""

_END = b"\n"
_INT = np.dtype("<i8")

_AT_ONCE = 200


def facts_of(project: Project, samples: Sequence[Sample], track: Track = silent) -> Iterator[SampleFacts]:
    """The facts of every sample, in their order."""
    data, classes = project.config.data, project.classes
    how = f"{VERSION} {classes.digest} {data.reduce_zero_label}"
    stamps = each(data.root, partial(_stamps, how=how), samples)
    now = {sample.id: one for sample, one in zip(samples, stamps, strict=True) if one is not None}
    before = project.ledger.fact_stamps()
    unchanged = {sample_id for sample_id, stamps in now.items() if stamps == before.get(sample_id)}
    changed = [sample for sample in samples if sample.id not in unchanged]
    looked_at = spread(partial(sample_facts, data=data, classes=classes), changed)
    found = _in_batches(project.ledger, samples, unchanged, looked_at, now)
    return track(found, "reading images and masks", len(samples))


def _in_batches(
    ledger: Ledger,
    samples: Sequence[Sample],
    unchanged: Set[str],
    looked_at: Iterator[SampleFacts],
    stamps: Mapping[str, str],
) -> Iterator[SampleFacts]:
    for start in range(0, len(samples), _AT_ONCE):
        batch = samples[start : start + _AT_ONCE]
        rows = {row.sample_id: row for row in ledger.facts([sample.id for sample in batch if sample.id in unchanged])}
        looks = ledger.looks({row.image_sha256 for row in rows.values()})
        new: list[FactRow] = []
        new_looks: dict[str, Look] = {}
        for sample in batch:
            row = rows.get(sample.id)
            facts = next(looked_at) if row is None else unpack(row.facts, sample, looks[row.image_sha256])
            if row is None and facts.image is not None and can_be_kept(facts, sample) and sample.id in stamps:
                new_looks[facts.image.sha256] = facts.image.look
                new.append(FactRow(sample.id, stamps[sample.id], facts.image.sha256, pack(facts)))
            yield facts
        if new:
            with ledger.transaction():
                ledger.put_looks(new_looks)
                ledger.put_facts(new)


def _stamps(sample: Sample, how: str) -> str | None:
    """As long as these stay, what was seen in the sample holds; None where a file cannot even be found."""
    try:
        return f"{how} {stamp(sample.image)} {None if sample.mask is None else stamp(sample.mask)}"
    except DataError:
        return None


# as bytes, and back


def can_be_kept(facts: SampleFacts, sample: Sample) -> bool:
    """Whether all files of the sample could be read."""
    return facts.image is not None and (facts.mask is not None) == (sample.mask is not None)


def pack(facts: SampleFacts) -> bytes:
    """The facts of a sample that ``can_be_kept``: JSON, then the arrays of its mask, compressed."""
    image, mask = facts.image, facts.mask
    assert image is not None
    plain = {
        "image": [*image.size_hw, image.sha256, image.brightness, image.contrast],
        "mask": None if mask is None else _plain(mask),
        "findings": [[one.kind, one.message] for one in facts.findings],
    }
    arrays = b"" if mask is None else _arrays(mask)
    return zlib.compress(json.dumps(plain).encode() + _END + arrays, level=1)


def unpack(packed: bytes, sample: Sample, look: Look) -> SampleFacts:
    """The inverse of ``pack``."""
    text, _, arrays = zlib.decompress(packed).partition(_END)
    plain = json.loads(text)
    height, width, sha256, brightness, contrast = plain["image"]
    return SampleFacts(
        sample.id,
        sample.split,
        ImageFacts((height, width), sha256, look, brightness, contrast),
        None if plain["mask"] is None else _mask(plain["mask"], arrays),
        # Of the image alone there are none: it could be read.
        tuple(finding(kind, sample.mask, message, sample_id=sample.id) for kind, message in plain["findings"]),
    )


def _plain(mask: MaskFacts) -> dict[str, Any]:
    return {
        "size_hw": mask.size_hw,
        "present": mask.present.tolist(),
        "ignored_px": mask.ignored_px,
        "unknown": mask.unknown,
        "specks": [_spot_values(spot) for spot in mask.specks],
        "holes": [_spot_values(spot) for spot in mask.holes],
        "frame": None if mask.frame is None else [mask.frame.value, mask.frame.width_px],
        "fingerprint": mask.fingerprint,
    }


def _arrays(mask: MaskFacts) -> bytes:
    by_class = (mask.pixels, mask.components, mask.holed, mask.sizes)
    return b"".join([*(one.astype(_INT).tobytes() for one in (*by_class, mask.sides)), mask.heat.tobytes()])


def _mask(plain: dict[str, Any], arrays: bytes) -> MaskFacts:
    count, place = len(plain["present"]), 0

    def taken(dtype: Any, *shape: int) -> Any:
        nonlocal place
        found = np.frombuffer(arrays, dtype, int(np.prod(shape)), place).reshape(shape)
        place += found.nbytes
        return found

    pixels, components, holed = (taken(_INT, count) for _ in range(3))
    sizes, sides, heat = taken(_INT, count, BINS), taken(_INT, BINS), taken(np.uint8, count, CELLS, CELLS)
    return MaskFacts(
        size_hw=tuple(plain["size_hw"]),
        present=np.array(plain["present"], np.int64),
        pixels=pixels,
        components=components,
        holed=holed,
        sizes=sizes,
        heat=heat,
        sides=sides,
        ignored_px=plain["ignored_px"],
        unknown=tuple((index, px) for index, px in plain["unknown"]),
        specks=tuple(map(_spot, plain["specks"])),
        holes=tuple(map(_spot, plain["holes"])),
        frame=None if plain["frame"] is None else Frame(*plain["frame"]),
        fingerprint=plain["fingerprint"],
    )


def _spot_values(spot: Spot) -> list[int]:
    return [spot.class_index, spot.area_px, *spot.box_ltrb]


def _spot(values: list[int]) -> Spot:
    class_index, area_px, left, top, right, bottom = values
    return Spot(class_index, area_px, (left, top, right, bottom))
