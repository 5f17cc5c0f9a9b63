"""``annoloop export model``: a run's model as a folder that works without annoloop, checked against the run's scores.

Not here: the graph (``training/mmseg/exporting.py``), the check (``model_check.py``) and the card (``model_card.py``).
The fact to know: the folder is there only if the model in it, run by the script in it, scores as the run does.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias, get_args

from annoloop import __version__
from annoloop.data.images import file_sha256, write_atomic
from annoloop.data.mmseg_folders import Sample
from annoloop.errors import DataError, MissingExtraError, check_argument
from annoloop.loop.handover import delivery, manifest
from annoloop.loop.handover.export import require_outside
from annoloop.loop.handover.manifest import Manifest
from annoloop.loop.handover.model_card import CARD_FILES, Stated, write_card
from annoloop.loop.handover.model_check import Check, check_model, require_passed
from annoloop.loop.missing_model import whole_run
from annoloop.progress import Track, silent
from annoloop.project.project import Project
from annoloop.project.rows import RunRow
from annoloop.selection.scoring import Scored, Watch, checked_config, score, unwatched
from annoloop.training import mmseg
from annoloop.training.child import require_training, run_job
from annoloop.training.records import FACTS_FILE, MODEL_FILES, Event, ModelFormat

MODEL_FORMATS: tuple[ModelFormat, ...] = get_args(ModelFormat)
CHECKED_SPLIT = "val"

SCRIPT, DESCRIPTION, REQUIREMENTS = "predict.py", "model.json", "requirements.txt"

_SCRIPT_SOURCE = Path(mmseg.__file__).parent / "standalone.py"
_FORMAT = 1

Plain: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ExportModelReport:
    """What was written where, of which run, and how the check went; with ``dry_run`` what would be.

    ``images`` are those of the validation split that the check is about; ``check`` is None where nothing was written.
    """

    out: Path
    model_format: ModelFormat
    run: int
    recipe: str
    promoted: bool
    files: tuple[str, ...]
    images: int
    dry_run: bool = False
    size_bytes: int | None = None
    checkpoint_sha256: str | None = None
    check: Check | None = None
    manifest: Path | None = None


def export_model(
    project: Project,
    out: Path,
    model_format: ModelFormat = "onnx",
    *,
    run_id: int | None = None,
    check: int | None = None,
    stated: Stated | None = None,
    force: bool = False,
    dry_run: bool = False,
    track: Track = silent,
    watch: Watch = unwatched,
) -> ExportModelReport:
    """Write a folder with a run's model, a script that predicts with it, a model card, and the hashes of all.

    Args:
        run_id: default: the current model.
        check: so many images of the validation split are predicted by both; default: all that have a mask.
        stated: what people say of the model, for its card.
        force: an export that is there, and that nobody changed since, is replaced.
        dry_run: write nothing.

    Raises:
        ConfigError: no such model, one of other classes, or its config was changed since its training.
        LedgerError: there is no such run.
        MissingExtraError: onnx, onnxruntime, torch or mmseg is not installed.
        DataError: no image to check with, or something is in the way.
        TrainingError: the model cannot be exported, or what was exported does not score as the run does.
    """
    check_argument("--format", model_format, model_format in MODEL_FORMATS, f"one of {', '.join(MODEL_FORMATS)}")
    check_argument("--check", check, check is None or check >= 1, "at least one image")
    require_export(model_format)
    out = out.resolve()
    require_outside(project, out)
    delivery.require_free_folder(out, force=force)
    run = whole_run(project, run_id, "nothing to export")
    config = checked_config(project, run.id)
    samples = [one for one in project.samples([CHECKED_SPLIT]) if one.mask is not None]
    if not samples:
        raise DataError(
            f"no image of {CHECKED_SPLIT} has a mask, and an export is checked against the run's scores there",
            where=project.config.data.root,
            hint="see data.splits",
        )
    counted = min(len(samples), check or len(samples))
    files = (MODEL_FILES[model_format], DESCRIPTION, SCRIPT, REQUIREMENTS, *CARD_FILES, manifest.FILE_NAME)
    report = ExportModelReport(out, model_format, run.id, run.recipe, run.promoted, files, counted, dry_run)
    if dry_run:
        return report
    return _export(project, run, config, report, samples, stated or Stated(), track, watch)


def require_export(model_format: ModelFormat) -> None:
    """Say what is missing before anything is begun; looks for the packages and loads none.

    Raises:
        MissingExtraError: it is.
    """
    for package in ("onnx", "onnxruntime") if model_format == "onnx" else ():
        if find_spec(package) is None:
            raise MissingExtraError(package, "export")
    require_training()


def _export(
    project: Project,
    run: RunRow,
    config: Path,
    report: ExportModelReport,
    samples: Sequence[Sample],
    stated: Stated,
    track: Track,
    watch: Watch,
) -> ExportModelReport:
    scored = score(project, run, samples, track=track, watch=watch)
    checkpoint = project.best_checkpoint(run.id)
    digest, form = file_sha256(checkpoint), report.model_format
    job = project.job(
        "export", project.run_dir(run.id) / "export", recipe=config, init_checkpoint=checkpoint, model_format=form,
        device="cpu",
    )  # fmt: skip
    made = job.run_dir / MODEL_FILES[form]
    try:
        watch(Event("starting"))
        run_job(job, watch)
        if file_sha256(checkpoint) != digest:
            raise DataError("was changed meanwhile", where=checkpoint, hint="run again")
        facts: Plain = json.loads((job.run_dir / FACTS_FILE).read_text(encoding="utf-8"))
        about = _description(project, run, form, facts, digest, stated)
        with delivery.new_folder(report.out) as part:
            shutil.move(made, part / made.name)
            _write(part / DESCRIPTION, json.dumps(about, indent=1, ensure_ascii=False) + "\n")
            shutil.copyfile(_SCRIPT_SOURCE, part / SCRIPT)
            _write(part / REQUIREMENTS, _requirements(form, facts))
            checked = check_model(project, run, part / SCRIPT, _spread_out(scored, report.images), track, watch)
            require_passed(checked, run.id)
            write_card(project, run, part, about, checked, scored, stated, track)
            _write_manifest(project, run, form, part)
            size = (part / made.name).stat().st_size
    finally:
        made.unlink(missing_ok=True)
    return replace(
        report, size_bytes=size, checkpoint_sha256=digest, check=checked, manifest=report.out / manifest.FILE_NAME
    )


def _write_manifest(project: Project, run: RunRow, model_format: ModelFormat, folder: Path) -> None:
    classes, files = project.classes, delivery.hashes_below(folder, {})
    made = Manifest(f"export to {model_format}", f"run {run.id}", classes.digest, classes.names, (), files)
    delivery.write_manifest(folder / manifest.FILE_NAME, made)


def _spread_out(scored: Sequence[Scored], count: int) -> list[Scored]:
    """So many, evenly from all in their order."""
    return [scored[number * len(scored) // count] for number in range(count)]


def _description(
    project: Project, run: RunRow, model_format: ModelFormat, facts: Plain, checkpoint_sha256: str, stated: Stated
) -> Plain:
    """What ``model.json`` says: all that one has to know to use the model without this annoloop."""
    classes = project.classes
    return {
        "annoloop model": _FORMAT,
        "annoloop": __version__,
        "name": stated.name or project.config.project,
        "format": model_format,
        "file": MODEL_FILES[model_format],
        "opset": facts["opset"],
        "exported_with_torch": facts["torch"],
        "run": run.id,
        "recipe": run.recipe,
        "checkpoint_sha256": checkpoint_sha256,
        "class_digest": classes.digest,
        "input": {"name": "image", "shape": [1, 3, "height", "width"], "dtype": "uint8", "channels": "RGB, 0 to 255"},
        "output": {
            "name": "probabilities",
            "shape": [1, len(classes), "height", "width"],
            "dtype": "float32",
            "meaning": "for each class and pixel of the input; the class of a pixel is the largest",
        },
        "done_in_the_graph": {**facts["graph"], "then": "softmax, at the size of the input"},
        "flips": facts["flips"],
        "windows": {
            "scale": facts["scale"],
            "whole_px": facts["whole_px"],
            "side_px": facts["window_px"],
            "margin_px": facts["margin_px"],
            "rule": "an image of more than whole_px, height x width x scale x scale, is predicted in windows of"
            " side_px, of each of which the part that is margin_px away from its inner borders is used; px are the"
            " image's",
        },
        "classes": [{"index": i, "name": one.name, "rgb": list(one.rgb)} for i, one in enumerate(classes.classes)],
        "background_index": classes.background_index,
        "ignore_index": classes.ignore_index,
    }


def _requirements(model_format: ModelFormat, facts: Plain) -> str:
    torch = ".".join(facts["torch"].split("+")[0].split(".")[:2])
    runs = "onnxruntime>=1.18" if model_format == "onnx" else f"torch>={torch}"
    return f"numpy>=1.26\npillow>=10\n{runs}\n"


def _write(path: Path, text: str) -> None:
    write_atomic(path, text.encode(), durable=False)
