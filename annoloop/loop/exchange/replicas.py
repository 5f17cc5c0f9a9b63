"""Jobs that several people annotate, each a replica of their own: given out, and settled into one mask at the end.

Not here: how a mask is read and taken over (``corrections.py``), how far people agree (``loop/quality.py``).  The fact
to know: replicas never mix by chance; either one annotator's are read, or the value that most of them have at each
pixel is taken, and where several share the most votes the label stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice

import numpy as np

from annoloop.cvat.server import CvatServer
from annoloop.cvat.shapes import Drawing, draw
from annoloop.cvat.wire import Frame, JobAnnotations, JobInfo, Shape, Stray, shape_digest
from annoloop.errors import ConfigError, CvatError, some_of
from annoloop.masks.classes import ClassTable
from annoloop.masks.regions import LabelMap
from annoloop.metrics.agreement import vote
from annoloop.project.rows import FrameRow

Paint = Callable[[FrameRow, Frame, Sequence[Shape]], LabelMap]
"""The label map that some shapes make on a frame."""

_NAMED = 10


# giving out


def check_made(jobs: Sequence[JobInfo], replicas: Sequence[JobInfo], wanted: int, where: str) -> None:
    """Raise where a server did not make the replicas that were asked for.

    Raises:
        CvatError: it made fewer, or others.
    """
    if any(sum(one.parent == job.id for one in replicas) != wanted for job in jobs):
        raise CvatError(
            f"the server made {len(replicas)} replicas of {len(jobs)} jobs, {wanted} of each were asked for",
            where=where,
            hint="does this server know consensus jobs? If not, delete the task, and push without --replicas",
        )


def assign_replicas(
    server: CvatServer, jobs: Sequence[JobInfo], replicas: Sequence[JobInfo], user_ids: Sequence[int]
) -> None:
    """Round robin over the replicas of each job, so that no two of one job are the same person's."""
    people = cycle(user_ids)
    for job in jobs:
        own = [one for one in replicas if one.parent == job.id]
        for one, user_id in zip(own, islice(people, len(own) if user_ids else 0), strict=False):
            if one.assignee is None:
                server.assign_job(one.id, user_id)


# coming back


def annotator_of(replica: JobInfo) -> str:
    """Who annotates a replica: its assignee, or where it has none the job itself."""
    return replica.assignee or f"job {replica.id}"


@dataclass(frozen=True, slots=True)
class Replicas:
    """The replicas of each job of a task that count, by the job's number; none where the task has none."""

    of: Mapping[int, tuple[JobInfo, ...]]

    def combined(self, job: JobInfo) -> JobInfo:
        """A job as its replicas are: completed once all of them are, new as long as nobody began."""
        if not self.of:
            return job
        states = {one.state for one in self.of.get(job.id, ())} or {"new"}
        return replace(job, state=states.pop() if len(states) == 1 else "in progress")

    def count(self, job: JobInfo) -> bool:
        """Whether there is anything to read for a job: one's own replica, if an annotator was named."""
        return not self.of or bool(self.of[job.id])

    def annotations(
        self, server: CvatServer, job: JobInfo, rows: Mapping[int, FrameRow], frames: Mapping[int, Frame], how: Vote
    ) -> JobAnnotations:
        """What is on the frames of a job: its own shapes, those of the one replica that counts, or the vote of several.

        Args:
            rows: the frames that were pushed, by their index in the task; ``frames`` too.
        """
        if not self.of:
            return server.job_annotations(job.id)
        voters = self.of[job.id]
        said = [(one, server.job_annotations(one.id)) for one in voters]
        if len(said) == 1:
            return said[0][1]
        shapes: list[Shape] = []
        strays = [stray for _, one in said for stray in one.strays]
        for index in sorted({shape.frame for _, one in said for shape in one.shapes} | rows.keys()):
            try:
                shapes += how.settled(index, rows.get(index), frames.get(index), said)
            except CvatError as error:
                strays.append(Stray(index, "shape", error.message, None))
        return JobAnnotations(
            tuple(shapes), tuple(strays), tuple(dict.fromkeys(tag for _, one in said for tag in one.tags))
        )


@dataclass(frozen=True, slots=True)
class Vote:
    """How the replicas of a frame become one: ``labels`` by number, ``previous`` the map as it was last in step."""

    classes: ClassTable
    labels: Mapping[int, str]
    min_region_px: int
    previous: Callable[[FrameRow], LabelMap]
    paint: Paint

    def settled(
        self, index: int, row: FrameRow | None, frame: Frame | None, said: Sequence[tuple[JobInfo, JobAnnotations]]
    ) -> list[Shape]:
        """The shapes of one frame: as all have them, or those of the label map that most of them draw."""
        own = [(job, [shape for shape in one.shapes if shape.frame == index]) for job, one in said]
        unknown = {shape.label_id for _, shapes in own for shape in shapes} - set(self.labels)
        if unknown:
            raise CvatError(f"a shape has the unknown label id {min(unknown)}")
        digests = {id(shapes): self._digests(shapes) for _, shapes in own}
        if row is None or frame is None or frame.deleted:
            return own[0][1]
        # One who goes on with the job has a vote where they changed something; not to have begun is no opinion.
        voting = [shapes for job, shapes in own if job.finished or digests[id(shapes)] != row.shapes]
        if not voting or all(digests[id(one)] == digests[id(voting[0])] for one in voting):
            return voting[0] if voting else own[0][1]
        previous = self.previous(row)
        label_map = vote([self.paint(row, frame, shapes) for shapes in voting], previous)
        if np.array_equal(label_map, previous):
            as_pushed = next((shapes for _, shapes in own if digests[id(shapes)] == row.shapes), None)
            if as_pushed is not None:
                return as_pushed
        numbers = {name: number for number, name in self.labels.items()}
        drawn = draw(label_map, self.classes, Drawing("mask", 0.0, self.min_region_px), f"frame {frame.name}")
        return [replace(one.shape, frame=index, label_id=numbers[one.label]) for one in drawn]

    def _digests(self, shapes: Sequence[Shape]) -> tuple[str, ...]:
        return tuple(sorted(shape_digest(one, self.labels.get(one.label_id, "")) for one in shapes))


def counted(jobs: Sequence[JobInfo], replicas: Sequence[JobInfo], annotator: str | None, where: str) -> Replicas:
    """The replicas that settle a task: one annotator's, or all of them.

    Raises:
        ConfigError: there are no replicas, or none of this annotator's, or two of one job.
    """
    if annotator is None:
        return Replicas({job.id: tuple(one for one in replicas if one.parent == job.id) for job in jobs if replicas})
    if not replicas:
        raise ConfigError(
            "the task has no replicas, so there is one mask of each image, whoever drew it",
            where=where,
            hint="pull it without --annotator",
        )
    own = [one for one in replicas if annotator_of(one) == annotator]
    if not own:
        known = some_of(sorted({annotator_of(one) for one in replicas}), _NAMED)
        raise ConfigError(f"no replica belongs to {annotator!r}", where=where, hint=f"replicas have: {known}")
    found = {job.id: tuple(one for one in own if one.parent == job.id) for job in jobs}
    twice = [str(number) for number, some in found.items() if len(some) > 1]
    if twice:
        raise ConfigError(f"{annotator!r} has two replicas of job {some_of(twice, _NAMED)}", where=where)
    return Replicas(found)
