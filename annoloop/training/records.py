"""What travels between us and the child process, and what it leaves: a Job in, Events and a Result out.

Plain values, JSON on disk.  Not here: starting and watching a child (``child.py``).  The fact to know: a run has
succeeded when ``result.json`` is there, which is written last, *and* the child exited with 0.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from annoloop.masks.classes import MAX_CLASSES, NARROW_IGNORE, WIDE_IGNORE

Kind = Literal["train", "predict", "measure", "answer", "export"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "bfloat16", "float32"]

ModelFormat = Literal["onnx", "torchscript"]
MODEL_FILES: dict[ModelFormat, str] = {"onnx": "model.onnx", "torchscript": "model.pt"}
FACTS_FILE = "graph.json"
"""What an export leaves in the run folder: the model's file, and what one has to know of it."""

EXIT_MISSING_PACKAGE = 8
"""The child's exit code when torch or an mm* package cannot be imported."""

EXIT_STOPPED = 130
"""The child's exit code when it was asked to stop and did so in good order."""


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that the child process needs, and nothing else.

    ``train`` and ``val`` hold (image, mask) files; ``predictions`` holds (image, index PNG to write,
    confidence PNG to write or None), made after training with the best model, or with ``init_checkpoint``
    when ``kind`` is "predict", which ``past_faults`` goes on where an image cannot be predicted; "answer" predicts what
    comes over stdin instead (``predictor.py``); "export" writes that model in ``model_format``.
    ``ignore_index`` is the value in the mask files of pixels that do not
    count; ``reduce_zero_label`` is mmseg's: 0 in a file is ignored and n means class n - 1.  ``values`` are the
    (value in a file, what it means) where these differ, in place of the two, ignored pixels being ``ignore_index``.
    ``iterations`` and ``batch_size`` of None mean the recipe's own.  ``train_pixels`` counts the pixels
    of every class in every mask of ``train`` (N, K): class weights and the choice of images come from it;
    None leaves both as the recipe has them.  ``val_pixels`` are those of ``val``, for a fair share of it to validate on
    meanwhile.  ``budget_s`` in place of ``iterations``: training, validation
    and predictions end so many seconds after ``began_at`` (a Unix time).  ``accumulate``: a step of the
    optimizer takes so many batches.  ``pretrained``: "auto", "none", or a file for the recipe's backbone.
    ``processes`` on each of ``nodes`` machines train together, one for each GPU, and share out every batch.
    ``threads`` bounds those of a child on a CPU that shares its machine; None: one for each usable core, or where other
    programs are at work when it starts, for each that they leave.
    """

    kind: Kind
    run_dir: Path
    recipe: Path
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_index: int = 255
    reduce_zero_label: bool = False
    values: tuple[tuple[int, int], ...] = ()
    device: Device = "auto"
    seed: int = 0
    train: tuple[tuple[Path, Path], ...] = ()
    val: tuple[tuple[Path, Path], ...] = ()
    iterations: int | None = None
    budget_s: float | None = None
    began_at: float | None = None
    batch_size: int | None = None
    init_checkpoint: Path | None = None
    resume: bool = False
    predictions: tuple[tuple[Path, Path, Path | None], ...] = ()
    past_faults: bool = False
    background_index: int | None = 0
    train_pixels: tuple[tuple[int, ...], ...] | None = None
    val_pixels: tuple[tuple[int, ...], ...] | None = None
    accumulate: int = 1
    precision: Precision = "auto"
    pretrained: str = "auto"
    processes: int = 1
    nodes: int = 1
    threads: int | None = None
    model_format: ModelFormat | None = None

    @property
    def trained_ignore(self) -> int:
        """What ignored pixels have in training: mmseg's 255 as long as that is no class, or else the one of 16 bits."""
        return NARROW_IGNORE if len(self.class_names) <= MAX_CLASSES else WIDE_IGNORE

    def to_json(self) -> str:
        """The job as JSON text; paths become strings."""
        return json.dumps(asdict(self), default=str, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The exact inverse of ``to_json``."""
        raw = json.loads(text)
        checkpoint = raw["init_checkpoint"]
        typed = {
            "run_dir": Path(raw["run_dir"]),
            "recipe": Path(raw["recipe"]),
            "class_names": tuple(raw["class_names"]),
            "palette": tuple(tuple(color) for color in raw["palette"]),
            "values": tuple((stored, label) for stored, label in raw.get("values", ())),
            "init_checkpoint": None if checkpoint is None else Path(checkpoint),
        }
        counts = {
            key: None if raw[key] is None else tuple(map(tuple, raw[key])) for key in ("train_pixels", "val_pixels")
        }
        files = ("train", "val", "predictions")
        lists = {
            key: tuple(tuple(None if one is None else Path(one) for one in row) for row in raw[key]) for key in files
        }
        return cls(**{**raw, **typed, **counts, **lists})


@dataclass(frozen=True, slots=True)
class Event:
    """One line of ``events.jsonl``: what the child did just now.

    The kinds and their main fields: ``started`` (device, iterations, resumed_from), ``planned``
    (iterations, seconds_per_iteration, seconds: how long it will take), ``iteration`` (iteration,
    loss, lr, seconds), ``validation`` (iteration, mdice, miou, dice_per_class, never_predicted, best; ``images`` and
    ``settled`` where the last candidates were judged),
    ``prediction`` (image, done, total), ``unpredicted`` (image, message), ``warning`` (message),
    ``error`` (message, where, hint), ``out-of-memory``, ``missing`` (package) and ``stopped`` (iteration, kept).
    ``fold`` (number, count, images) is not the child's: the training of a fold begins.  Nor are ``announced`` (recipe,
    train_images, val_images, folds, iterations, budget_s, and like_run with expected_s where a run like it is known),
    ``plan`` (lines: what, chosen, because), ``starting`` and ``tracked`` (id, place, look, note).
    """

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The event as one line of JSON."""
        return json.dumps({"kind": self.kind, **self.fields})

    @classmethod
    def from_json(cls, line: str) -> Event:
        """The exact inverse of ``to_json``.

        Raises:
            ValueError: the line is no event.
        """
        raw = json.loads(line)
        if not isinstance(raw, dict) or "kind" not in raw:
            raise ValueError(f"not an event: {line!r}")
        return cls(raw.pop("kind"), raw)


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to; scores are fractions of 1, times are seconds.

    ``mdice``, ``miou`` and ``dice_per_class`` are those of ``best_checkpoint`` on ``Job.val``, None
    where there was nothing to score; a class absent from truth and prediction is None in
    ``dice_per_class`` and does not count in the means, as in mmseg.  ``looks_per_image``: 2 where a prediction is the
    mean with that for the mirror image, so that it takes twice ``seconds_per_image``.
    """

    best_checkpoint: Path | None = None
    best_iteration: int | None = None
    iterations: int = 0
    mdice: float | None = None
    miou: float | None = None
    dice_per_class: tuple[float | None, ...] = ()
    predicted: int = 0
    device: str = "cpu"
    seconds: float = 0.0
    seconds_per_iteration: float | None = None
    seconds_per_image: float | None = None
    looks_per_image: int = 1

    def to_json(self) -> str:
        """The result as JSON text."""
        return json.dumps(asdict(self), default=str, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Result:
        """The exact inverse of ``to_json``."""
        raw = json.loads(text)
        best = raw["best_checkpoint"]
        raw["best_checkpoint"] = None if best is None else Path(best)
        raw["dice_per_class"] = tuple(raw["dice_per_class"])
        return cls(**raw)


# in the folder of a run


def write_job(job: Job) -> Path:
    """job.json in the run folder; an older result is removed so that it cannot pass for this run's."""
    job.run_dir.mkdir(parents=True, exist_ok=True)
    (job.run_dir / "result.json").unlink(missing_ok=True)
    path = job.run_dir / "job.json"
    path.write_text(job.to_json(), encoding="utf-8")
    return path


def result_of(run_dir: Path) -> Result | None:
    """What a finished run left; None while it is not finished."""
    path = run_dir / "result.json"
    return Result.from_json(path.read_text(encoding="utf-8")) if path.is_file() else None


def events_of(run_dir: Path) -> Iterator[Event]:
    """What is on record of a training, in order; nothing where there is no record.

    A training that was resumed says ``started`` again; a line that a kill cut short is left out.
    """
    path = run_dir / "events.jsonl"
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as record:
        for line in record:
            with contextlib.suppress(ValueError):
                yield Event.from_json(line)
