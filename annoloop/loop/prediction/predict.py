"""``annoloop predict``: masks of any images by a model of the project, the same that ``evaluate`` scores.

Not here: what was named (``sources.py``), how files come here (``portions.py``), the folder of results
(``results.py``), the network (``training/``).  The facts to know: data set and ledger are not touched; and an image
that cannot be predicted is told at the end, when all others are.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from annoloop.compute.workers import spread
from annoloop.data import geotiff
from annoloop.data.config import DataConfig
from annoloop.data.images import glance, image_size_hw, read_bytes
from annoloop.data.mmseg_folders import is_mask
from annoloop.data.storage import Location
from annoloop.data.videos import require_video
from annoloop.errors import AnnoloopError, ConfigError, Interrupted, check_argument
from annoloop.loop.missing_model import whole_run
from annoloop.loop.prediction import results as result_folder
from annoloop.loop.prediction.pictures import Picture, write_coco, write_overlays
from annoloop.loop.prediction.portions import Portions, Ready
from annoloop.loop.prediction.results import Item, Model, Results
from annoloop.loop.prediction.sources import IsMask, Sources, address, sources
from annoloop.progress import Say, Track, silent, unsaid
from annoloop.project.files import is_made
from annoloop.project.project import Project
from annoloop.project.rows import RunRow
from annoloop.selection.scoring import Watch, checked_config, unwatched
from annoloop.training.child import require_training
from annoloop.training.records import Device, Event
from annoloop.training.shards import predict_job

_GLANCED_PX = 1 << 26
"""Images of more pixels are read once, by the network, and not looked at before."""

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """What is predicted, and what is made of it.

    ``every``: of videos each so many-th frame; ``run_id``: None is the current model; ``force``: predictions of another
    model in the folder make room.
    """

    paths: tuple[Location, ...]
    out: Path
    run_id: int | None = None
    every: int = 1
    confidence: bool = False
    overlay: bool = False
    coco: bool = False
    force: bool = False
    device: Device | None = None


@dataclass(frozen=True, slots=True)
class PredictFault:
    """An image or video of which there is no prediction, and why."""

    place: str
    message: str


@dataclass(frozen=True, slots=True)
class PredictReport:
    """What was predicted; ``images`` counts frames of videos, too, ``kept`` what was there before.

    ``images_per_second`` is that of the network with reading and writing, without loading the model and without
    overlays; None where nothing was predicted.  ``regions``: annotations in the COCO file ``coco``.
    """

    run: int
    recipe: str
    device: str | None
    out: Path
    images: int
    videos: int
    predicted: int
    kept: int
    faults: tuple[PredictFault, ...]
    seconds: float
    images_per_second: float | None
    overlay: bool
    coco: Path | None
    regions: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PredictPlan:
    """What would be predicted; ``frames`` as far as videos say how long they are, ``first`` (image, mask to write)."""

    run: int
    recipe: str
    out: Path
    images: int
    kept: int
    videos: int
    frames: int
    first: tuple[tuple[str, str], ...]
    faults: tuple[PredictFault, ...]
    notes: tuple[str, ...]


def predict(
    project: Project, request: PredictRequest, *, track: Track = silent, say: Say = unsaid, watch: Watch = unwatched
) -> PredictReport:
    """Write the masks of all that was named into a folder, and what else was asked for; goes on where it was cut off.

    Raises:
        ConfigError: there is no such model, or the folder of results is within the images.
        DataError: nothing to predict, or the folder holds something else.
        MissingExtraError: torch, an mm* package, or what reads such images or videos is not installed.
        StoreError: a store refuses, or cannot be reached.
        TrainingError: the predicting process failed.
        Interrupted: ^C; what is predicted is kept.
    """
    began = time.monotonic()
    run, found = _settled(project, request)
    with result_folder.opened(request.out, Model.of(project, run), project.classes, force=request.force) as results:
        for note in found.notes:
            say(note)
        work = _Work(project, run, request, results, track, watch)
        for portion in work.portions.of(found.found):
            work.do(portion)
        regions = work.write_coco() if request.coco else 0
    named_videos = sum(one.is_video for one in found.found)
    return PredictReport(
        run.id, run.recipe, work.device, request.out,
        images=len(work.portions.there) + len(work.faults), videos=named_videos, predicted=work.predicted,
        kept=len(work.portions.there) - work.predicted, faults=tuple(work.faults), seconds=time.monotonic() - began,
        images_per_second=work.predicted / work.busy_s if work.predicted and work.busy_s else None,
        overlay=request.overlay, coco=request.out / "coco.json" if request.coco else None, regions=regions,
        notes=found.notes,
    )  # fmt: skip


def plan_prediction(project: Project, request: PredictRequest) -> PredictPlan:
    """What ``predict`` would do for the same request; nothing is written.

    Raises:
        AnnoloopError: as ``predict`` before it begins.
    """
    run, found = _settled(project, request)
    results = result_folder.looked_at(request.out, Model.of(project, run), force=request.force)
    faults: list[PredictFault] = []
    portions = Portions(results, request.every, _is_done(request, results), _noted(faults), silent)
    todo = list(portions.lacking(found.found))
    videos = [one for one in found.found if one.is_video]
    images = [item for item, _ in todo]
    first = [(str(item.place), str(results.mask(item))) for item in images[:_SHOWN]]
    first += [(str(one.place), str(results.mask(Item(f"{one.name}/000000", one.place, 0)))) for one in videos[:_SHOWN]]
    return PredictPlan(
        run.id, run.recipe, request.out, len(images), len(portions.there), len(videos), portions.frames_of(videos),
        tuple(first[:_SHOWN]), tuple(faults), found.notes,
    )  # fmt: skip


def _settled(project: Project, request: PredictRequest) -> tuple[RunRow, Sources]:
    """The model, and all that was named, once it is known that nothing is in the way."""
    require_training()
    check_argument("every", request.every, request.every >= 1, "1 or more")
    run = whole_run(project, request.run_id, "nothing to predict with")
    checked_config(project, run.id)
    found = sources(request.paths, _own_masks(project.config.data))
    if any(one.is_video for one in found.found):
        require_video()
    _refuse_within(project, request.out, found)
    return run, found


def _own_masks(data: DataConfig) -> IsMask:
    """What tells the masks of the data set from images."""
    root = f"{address(data.root)}/"
    places = [data.place(split) for split in data.splits]

    def is_own(file: Location) -> bool:
        text = address(file)
        return text.startswith(root) and is_mask(text.removeprefix(root), places)

    return is_own


def _refuse_within(project: Project, out: Path, found: Sources) -> None:
    """Masks among images would be found as images the next time."""
    named = [folder for folder in found.folders if isinstance(folder, Path)]
    for folder in (*named, *(folder for _, _, folder in project.config.data.local_folders())):
        if out.resolve().is_relative_to(folder.resolve()):
            raise ConfigError(
                f"results cannot go into {folder}, which holds images or masks", where=out, hint="choose another --out"
            )


def _is_done(request: PredictRequest, results: Results) -> result_folder.IsDone:
    def is_done(item: Item, seen: str) -> bool:
        whole = results.is_done(item, seen, confidence=request.confidence)
        return whole and (not request.overlay or is_made(results.overlay(item)))

    return is_done


def _noted(faults: list[PredictFault]) -> result_folder.Fault:
    return lambda place, message: faults.append(PredictFault(str(place), message))


@dataclass(slots=True)
class _Work:
    """One run of ``predict``: what is done, and what went wrong."""

    project: Project
    run: RunRow
    request: PredictRequest
    results: Results
    track: Track
    watch: Watch
    faults: list[PredictFault] = field(default_factory=list)
    predicted: int = 0
    busy_s: float = 0.0
    device: str | None = None
    portions: Portions = field(init=False)

    def __post_init__(self) -> None:
        is_done = _is_done(self.request, self.results)
        self.portions = Portions(self.results, self.request.every, is_done, _noted(self.faults), self.track)

    def do(self, portion: Sequence[Ready]) -> None:
        """Predict a portion of images, and draw their overlays."""
        confidence = self.request.confidence
        known: list[Ready] = []
        lacking: list[Ready] = []
        for one in portion:
            has_mask = self.results.is_done(one.item, one.seen, confidence=confidence)
            (known if has_mask else lacking).append(one)
        made = self._predict(self._readable(lacking))
        if self.request.overlay:
            pictures = [
                Picture(one.local, self.results.mask(one.item), self.results.overlay(one.item))
                for one in (*known, *made)
            ]
            write_overlays(pictures, self.project.classes, self.track)
        self.portions.there += [one.item for one in (*known, *made)]

    def write_coco(self) -> int:
        masks = [(item.file_name, self.results.mask(item)) for item in self.portions.in_order()]
        return write_coco(self.request.out / "coco.json", masks, self.project.classes, self.track)

    def _readable(self, ready: Sequence[Ready]) -> list[Ready]:
        """Those that are whole images; the network would read some that are cut off, and see grey there."""
        readable = [one for one in ready if one.item.frame is not None]  # which we have just written
        files = [one for one in ready if one.item.frame is None]
        geotiff.require_for(one.local for one in files)
        looked = self.track(spread(_fault_of, [one.local for one in files]), "looking at images", len(files))
        for one, fault in zip(files, looked, strict=True):
            if fault is None:
                readable.append(one)
            else:
                self.faults.append(PredictFault(str(one.item.place), fault))
        return readable

    def _predict(self, ready: Sequence[Ready]) -> list[Ready]:
        if not ready:
            return []
        for one in ready:
            self.results.forget(one.item)
        job = self.project.job(
            "predict", self.results.scratch / "job",
            recipe=checked_config(self.project, self.run.id),
            init_checkpoint=self.project.best_checkpoint(self.run.id),
            device=self.request.device or self.project.config.train.device,
            predictions=tuple(
                (one.local, self.results.mask(one.item).absolute(),
                 self.results.confidence(one.item).absolute() if self.request.confidence else None)
                for one in ready
            ),
            past_faults=True,
        )  # fmt: skip
        listener = _Listener(self, {str(one.local): one for one in ready})
        try:
            predict_job(job, listener)
        except Interrupted:
            raise Interrupted(
                f"predicting stopped; {self.predicted} masks were made and are kept",
                where=self.request.out,
                hint="the same command makes the rest",
            ) from None
        finally:
            self.busy_s += listener.busy_s
        return listener.made


@dataclass(slots=True)
class _Listener:
    """Hears what the predicting process has done, and puts it on record."""

    work: _Work
    ready: dict[str, Ready]
    made: list[Ready] = field(default_factory=list)
    began: float = 0.0
    busy_s: float = 0.0

    def __call__(self, event: Event) -> None:
        if event.kind == "started":
            self.work.device, self.began = event.fields["device"], time.monotonic()
        elif event.kind == "prediction":
            one = self.ready[event.fields["image"]]
            self.work.results.note(one.item, one.seen)
            self.work.predicted += 1
            self.made.append(one)
            self.busy_s = time.monotonic() - self.began
        elif event.kind == "unpredicted":
            one = self.ready[event.fields["image"]]
            self.work.faults.append(PredictFault(str(one.item.place), event.fields["message"]))
        self.work.watch(event)


def _fault_of(image: Path) -> str | None:
    """Why an image cannot be read; None where it can."""
    try:
        height, width = image_size_hw(image)
        if height * width <= _GLANCED_PX:
            glance(read_bytes(image), image, 8)
    except AnnoloopError as error:
        return error.message
    return None
