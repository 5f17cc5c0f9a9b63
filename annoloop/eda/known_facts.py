"""The facts of all samples: of files that did not change those of the last time, the others are looked at.

Not here: what follows from them (``eda.py``).  The fact to know: what was seen is in the ledger after every few
hundred samples, so a look that was cut short goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from functools import partial

from annoloop.compute.workers import spread
from annoloop.data.mmseg_folders import Sample
from annoloop.data.storage import each
from annoloop.eda.packed_facts import VERSION, can_be_kept, pack, unpack
from annoloop.eda.sample_facts import SampleFacts, sample_facts
from annoloop.errors import DataError
from annoloop.metrics.perceptual_hash import Look
from annoloop.progress import Track, silent
from annoloop.project.ledger import Ledger
from annoloop.project.project import Project
from annoloop.project.schema import FactRow
from annoloop.project.stamps import stamp

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
