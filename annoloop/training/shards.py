"""Predictions in shards, each made by a child process on a machine of a Ray cluster; without one, by a child here.

Not here: the cluster (``ray_cluster.py``) and the child (``worker.py``).  The fact to know: a shard is a job of
its own in a folder of its own; its events come back through the file in which it records them, for files are shared.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from annoloop.compute.ray_cluster import Machine, RayCluster
from annoloop.compute.workers import joined_cluster
from annoloop.errors import Interrupted
from annoloop.training.child import run_job
from annoloop.training.records import Device, Event, Job

_FEWEST = 32
"""Images in a shard at least: a child needs seconds to load torch."""

_WHOLE_BATCHES = 8
"""Shards are cut after so many images: where all are of one size, each batch is then the one that it would be here."""

_MOST_CORES = 2
"""Cores of a shard at most; a larger machine makes several at once."""

_LOOK_EVERY_S = 0.5


def predict_job(job: Job, on_event: Callable[[Event], None]) -> None:
    """Do a job of kind "predict", on the cluster that was joined, if any; events and errors are those of ``run_job``.

    Raises:
        AnnoloopError: as ``run_job``; also a cluster that was lost.
    """
    cluster = joined_cluster()
    share = None if cluster is None else Share.of(cluster.machines, job.device)
    if cluster is None or share is None or (share.gpus == 0 and len(job.predictions) <= _FEWEST):
        run_job(job, on_event)
        return
    folder = job.run_dir / "shards"
    shutil.rmtree(folder, ignore_errors=True)
    _finish(cluster, share, list(_shards(job, share)), _Story(len(job.predictions), on_event))


@dataclass(frozen=True, slots=True)
class Share:
    """What each shard gets of a machine, and how many shards the cluster has room for at once."""

    cores: int
    gpus: int
    places: int

    @classmethod
    def of(cls, machines: Sequence[Machine], device: Device) -> Share | None:
        """One GPU for each shard where there are any and they are wanted, else a few cores; None where neither is."""
        with_gpu = [machine for machine in machines if machine.gpus and device != "cpu"]
        if with_gpu:
            cores = min(_MOST_CORES, *(machine.cores // machine.gpus for machine in with_gpu))
            return cls(cores, 1, sum(machine.gpus for machine in with_gpu))
        counts = [machine.cores for machine in machines if machine.cores]
        if not counts:
            return None
        cores = min(_MOST_CORES, *counts)
        return cls(cores, 0, sum(count // cores for count in counts))


def _shards(job: Job, share: Share) -> Iterator[Job]:
    """The job's images in as many parts as there are places, but none of them tiny."""
    total = len(job.predictions)
    size = max(_FEWEST, -(-total // share.places))
    size += -size % _WHOLE_BATCHES
    for number, start in enumerate(range(0, total, size)):
        yield replace(
            job,
            run_dir=job.run_dir / "shards" / f"{number:03d}",
            predictions=job.predictions[start : start + size],
            threads=max(1, share.cores),
        )


def _predict_shard(shard: Job) -> None:
    """On a machine of the cluster: what the shard lacks; begun anew after a loss, it goes on."""
    lacking = tuple(
        target for target in shard.predictions if not all(png is None or png.is_file() for png in target[1:])
    )
    if lacking:
        run_job(replace(shard, predictions=lacking), lambda _: None)


def _finish(cluster: RayCluster, share: Share, shards: Sequence[Job], story: _Story) -> None:
    records = [_Record(shard.run_dir) for shard in shards]
    waiting = [cluster.submit(_predict_shard, shard, cores=share.cores, gpus=share.gpus) for shard in shards]
    try:
        while waiting:
            done = cluster.wait(waiting, _LOOK_EVERY_S)
            for event in chain.from_iterable(record.news() for record in records):
                story.tell(event)
            for begun in done:
                waiting.remove(begun)
                begun.result()
    except KeyboardInterrupt:
        kept = f"{story.done} of {story.total} predictions are kept"
        where, hint = shards[0].run_dir.parent, "the same command makes the rest"
        raise Interrupted(f"predicting stopped; {kept}", where=where, hint=hint) from None
    finally:
        for begun in waiting:
            begun.cancel()


# the events of all shards as those of one job


class _Story:
    """Tells the shards' events as if one child had made all ``total`` predictions."""

    def __init__(self, total: int, on_event: Callable[[Event], None]) -> None:
        self.total, self.done = total, 0
        self._on_event = on_event
        self._told: set[str] = set()

    def tell(self, event: Event) -> None:
        """Pass an event on; what every child says, but for predictions, is told once."""
        if event.kind == "prediction":
            self.done = min(self.done + 1, self.total)
            self._on_event(Event("prediction", {**event.fields, "done": self.done, "total": self.total}))
            return
        if event.kind == "started":
            event = Event("started", {**event.fields, "total": self.total})
        if event.to_json() not in self._told:
            self._told.add(event.to_json())
            self._on_event(event)


class _Record:
    """The growing record of a child that runs elsewhere."""

    def __init__(self, run_dir: Path) -> None:
        self._file = run_dir / "events.jsonl"
        self._read_bytes = 0

    def news(self) -> Iterator[Event]:
        """Events since the last time; a line that is being written waits for the next."""
        if not self._file.is_file():
            return
        with self._file.open("rb") as record:
            record.seek(self._read_bytes)
            for line in record:
                if not line.endswith(b"\n"):
                    return
                self._read_bytes += len(line)
                with suppress(ValueError):
                    yield Event.from_json(line.decode())
