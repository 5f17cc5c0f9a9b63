"""Proposals as what a task carries: one shape for each region, whose attributes ask for a verdict and take it.

Made for CVAT's attribute annotation mode: Tab goes from region to region, a digit answers.  The fact to know: only what
was accepted is applied, pixel for pixel, to the very label that was shown; a shape's geometry counts for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from annoloop.cvat.archive import Picture
from annoloop.cvat.guide import review_guide
from annoloop.cvat.wire import AttributeSpec, Frame, Label, LabelSpec, Shape, shape_digest
from annoloop.errors import CvatError
from annoloop.loop.exchange.cargo import ReadImage, Unloaded, in_related_folder
from annoloop.masks.classes import ClassTable
from annoloop.masks.regions import Region
from annoloop.masks.run_lengths import from_cvat_runs
from annoloop.project.files import ProjectFiles
from annoloop.project.rows import ACCEPT, UNANSWERED, VERDICTS, FrameRow, ProposalRow
from annoloop.reports.context import change_picture

REGION = LabelSpec(
    "region", "#ffcc00", (AttributeSpec("verdict", "radio", VERDICTS), AttributeSpec("becomes", "text", ("",)))
)
"""The one label of a review; ``verdict`` comes first, so that it is the attribute that the mode begins with."""

_VERDICTS_ONLY = "a review takes verdicts only: undo that in CVAT, or answer 'wrong too' and push the image as a whole"


def review_project(project_name: str) -> str:
    """The name of the CVAT project that holds the reviews of another."""
    return f"{project_name} (review)"


def says(one: ProposalRow, classes: ClassTable) -> str:
    """What a proposal says beside its region; its number finds its picture."""
    return f"{one.number}: {classes.label_of(one.becomes)}, was {classes.label_of(one.labelled)}"


def shape_of(one: ProposalRow) -> Shape:
    """A proposal's region as a shape; frame, label and attributes are filled in later."""
    return Shape(0, 0, "mask", tuple(map(float, one.runs)), source="auto")


def planned_digest(one: ProposalRow) -> str:
    """The digest of a proposal's shape as it is sent."""
    return _with_verdict(shape_digest(shape_of(one), REGION.name), UNANSWERED)


@dataclass(frozen=True)
class ReviewCargo:
    """The proposals of a task; worker processes can be given it."""

    files: ProjectFiles
    proposals: tuple[ProposalRow, ...]

    @property
    def project_name(self) -> str:
        """Of the project in CVAT, a second one beside that of the masks."""
        return review_project(self.files.config.cvat_project)

    @property
    def labels(self) -> Sequence[LabelSpec]:
        """One for all regions."""
        return (REGION,)

    @property
    def guide(self) -> str:
        """Markdown for reviewers."""
        return review_guide()

    def digest(self, shape: Shape, label: Label) -> str:
        """A shape and its verdict."""
        return _with_verdict(shape_digest(shape, label.name), _attribute(shape, label, "verdict") or UNANSWERED)

    def loaded(self, row: FrameRow, frame: Frame, labels: Mapping[str, Label]) -> list[Shape]:
        """A shape for each proposal of a frame, unanswered.

        Raises:
            CvatError: the frame has another size than its mask.
        """
        size_hw = self.files.object_label_map(row.sent_sha256).shape
        if frame.size_hw != size_hw:
            raise CvatError(f"frame {frame.name} is {frame.size_hw} (h, w) on the server, its mask {size_hw}")
        label = labels[REGION.name]
        return [
            Shape(
                frame.index, label.id, "mask", shape_of(one).points, source="auto",
                attributes=(
                    (label.attributes["verdict"], UNANSWERED),
                    (label.attributes["becomes"], says(one, self.files.classes)),
                ),
            )
            for one in self._of_sample.get(row.sample_id, ())
        ]  # fmt: skip

    def unloaded(self, row: FrameRow, frame: Frame, shapes: Sequence[Shape], labels: Mapping[int, Label]) -> Unloaded:  # noqa: ARG002
        """The label that was sent, with the accepted regions in it, and all verdicts.

        A region whose shape was deleted has no verdict, and of two shapes for one region the last counts.

        Raises:
            CvatError: a shape was drawn or edited, or what it says was; names it.
        """
        asked = {shape_digest(shape_of(one), REGION.name): one for one in self._of_sample.get(row.sample_id, ())}
        verdicts = {one.number: UNANSWERED for one in asked.values()}
        label_map = self.files.object_label_map(row.sent_sha256).copy()
        for shape in shapes:
            label = labels[shape.label_id]
            one = asked.get(shape_digest(shape, label.name))
            if one is None:
                raise CvatError(f"shape {shape.id} was drawn or edited; {_VERDICTS_ONLY}")
            told, verdict = _attribute(shape, label, "becomes"), _attribute(shape, label, "verdict") or UNANSWERED
            if told != says(one, self.files.classes):
                raise CvatError(f"region {one.number}: what it becomes was changed to {told!r}; {_VERDICTS_ONLY}")
            if verdict not in VERDICTS:
                raise CvatError(f"region {one.number}: {verdict!r} is no verdict; {_VERDICTS_ONLY}")
            verdicts[one.number] = verdict
            if verdict == ACCEPT:
                region = region_of(one)
                label_map[region.window][region.bits] = one.becomes
        return Unloaded(label_map, verdicts=verdicts)

    def pictures(self, row: FrameRow, image: ReadImage, image_sha256: str) -> list[Picture]:  # noqa: ARG002
        """Each region of a frame from near, before and after."""
        rgb, label_map = image(), self.files.object_label_map(row.sent_sha256)
        found = []
        for one in self._of_sample.get(row.sample_id, ()):
            region, after = region_of(one), label_map.copy()
            after[region.window][region.bits] = one.becomes
            found.append(
                change_picture(f"region {one.number:04d}", rgb, label_map, after, region.box_ltrb, self.files.classes)
            )
        return in_related_folder(row.name, found)

    @cached_property
    def _of_sample(self) -> dict[str, list[ProposalRow]]:
        found: dict[str, list[ProposalRow]] = {}
        for one in self.proposals:
            found.setdefault(one.sample_id, []).append(one)
        return found


def region_of(one: ProposalRow) -> Region:
    """The pixels of a proposal, with the class that the label gives them."""
    right, bottom = one.runs[-2:]
    region = from_cvat_runs(tuple(map(float, one.runs)), one.labelled, (bottom + 1, right + 1))
    assert region is not None, "proposals have pixels"
    return region


def _with_verdict(digest: str, verdict: str) -> str:
    return f"{digest}={verdict}"


def _attribute(shape: Shape, label: Label, name: str) -> str | None:
    values: dict[int, str] = dict(shape.attributes)
    return values.get(label.attributes[name])
