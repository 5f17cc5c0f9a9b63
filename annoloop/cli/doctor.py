"""``annoloop doctor``: is everything in order, and how long will training take on this machine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from annoloop.app.fiftyone_app import mongod_path
from annoloop.cvat.server import open_server
from annoloop.data.durations import NIGHT_S, in_words, seconds_of
from annoloop.data.mmseg_folders import UNLABELLED
from annoloop.eda.eda import eda
from annoloop.eda.findings import KINDS
from annoloop.errors import AnnoloopError, ConfigError, CvatError, DataError, install_command
from annoloop.loop.plan import PlanReport, measured
from annoloop.progress import Track, silent
from annoloop.project.project import Project
from annoloop.tracking.settings import place_of, require_tracker
from annoloop.training.planning import AUTO, Length

State = Literal["ok", "warning", "fault"]

TESTED = {
    "numpy": "2.4.6",
    "torch": "2.13.0",
    "onedl-mmengine": "0.10.12",
    "onedl-mmcv": "2.3.6",
    "onedl-mmsegmentation": "1.4.2",
    "cvat-sdk": "2.80.0",
    "fiftyone": "1.22.1",
    "pycocotools": "2.0.11",
}
"""The set of versions that was tested together; the same as in scripts/constraints.txt."""

_EXTRA_OF = {"torch": "train", "onedl-mmengine": "train", "onedl-mmcv": "train", "onedl-mmsegmentation": "train",
             "fiftyone": "app"}  # fmt: skip
_LOW_DISK_BYTES = 2 << 30
_MOST_FAULTS = 50


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    found: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """All checks, in the order in which they were made."""

    checks: tuple[Check, ...]

    @property
    def faults(self) -> int:
        """How many checks found something that will not work."""
        return sum(check.state == "fault" for check in self.checks)


def doctor(project: Project | None, *, measure: bool = True, track: Track = silent) -> DoctorReport:
    """Look at everything; without a project, at the installation.  Finds faults, raises none."""
    checks = [_python(), *_versions(), _gpu(), _disk(project), _mongod()]
    if project is None:
        checks.append(Check("project", "ok", "none here: the installation was checked", "annoloop init DATA_ROOT"))
        return DoctorReport(tuple(checks))
    checks.append(_cvat(project))
    checks += _tracker(project)
    checks += _data(project, track)
    if measure:
        checks += _training_time(project)
    return DoctorReport(tuple(checks))


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    tested = sys.version_info[:2] in ((3, 11), (3, 12))
    return Check("Python", "ok" if tested else "warning", version, None if tested else "tested with 3.11 and 3.12")


def _versions() -> Iterator[Check]:
    for package, tested in TESTED.items():
        try:
            found = metadata.version(package)
        except metadata.PackageNotFoundError:
            extra = _EXTRA_OF.get(package)
            hint = install_command(extra) if extra else None
            yield Check(package, "warning" if extra else "fault", "not installed", hint)
            continue
        same = found.split("+")[0] == tested
        yield Check(package, "ok" if same else "warning", found, None if same else f"tested with {tested}")


def _gpu() -> Check:
    """Whether torch's build fits the machine, without importing torch."""
    try:
        torch = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return Check("device", "warning", "torch is not installed", install_command("train"))
    has_gpu = shutil.which("nvidia-smi") is not None
    if has_gpu and torch.endswith("+cpu"):
        return Check(
            "device",
            "fault",
            f"an NVIDIA GPU, but torch {torch} is the CPU build",
            "install torch's CUDA build",
        )
    cores = len(os.sched_getaffinity(0))
    return Check("device", "ok", "an NVIDIA GPU" if has_gpu else f"CPU, {cores} cores (no NVIDIA GPU)")


def _disk(project: Project | None) -> Check:
    free = shutil.disk_usage(Path.cwd() if project is None else project.path.parent).free
    state: State = "ok" if free > _LOW_DISK_BYTES else "fault"
    return Check(
        "disk",
        state,
        f"{free / (1 << 30):.1f} GiB free",
        None if state == "ok" else "make room for runs and history",
    )


def _mongod() -> Check:
    if os.environ.get("FIFTYONE_DATABASE_URI"):
        return Check("MongoDB", "ok", "FIFTYONE_DATABASE_URI is set")
    path = mongod_path()
    if path is None:
        return Check(
            "MongoDB", "warning", "none: annoloop browse will not start", "see Troubleshooting in the documentation"
        )
    return Check("MongoDB", "ok", "mongod of FiftyOne")


def _cvat(project: Project) -> Check:
    settings = project.config.cvat
    try:
        with open_server(settings) as server:
            about = server.about()
    except ConfigError as error:  # no credentials yet, or none that can be used: the loop begins without CVAT
        return Check("CVAT", "warning", error.message, error.hint)
    except CvatError as error:
        if error.unreached:
            return Check("CVAT", "warning", f"{settings.url} {error.message}", error.hint)
        return Check("CVAT", "fault", *_what_answered(settings.url, error))
    return Check(
        "CVAT",
        "warning" if about.note else "ok",
        f"{settings.url}, version {about.server_version}, as {about.username}",
        about.note,
    )


def _tracker(project: Project) -> Iterator[Check]:
    """Whether the package of the tracker that is set is there, and the tracker named; it is not called."""
    try:
        place = place_of(project.config.train, None, project.config.project, project.path)
        if place is not None:
            require_tracker(place.tracker)
            yield Check("tracking", "ok", place.tracker)
    except AnnoloopError as error:
        yield Check("tracking", "fault", error.message, error.hint)


def _what_answered(url: str, error: CvatError) -> tuple[str, str | None]:
    """What is wrong with a server that answers, in plain words, and what to do."""
    if error.status is not None and error.status >= 500:
        return f"{url} answers, but CVAT behind it does not ({error.message})", "is CVAT itself up? its log knows why"
    if error.status == 404:
        return f"{url} answers, but not as CVAT does ({error.message})", "is it the address of a CVAT server?"
    return f"{url}: {error.message}", error.hint


def _data(project: Project, track: Track) -> Iterator[Check]:
    """What ``annoloop eda`` finds, by the same list of kinds: faults one by one, remarks one for each kind."""
    try:
        report = eda(project, track=track)
    except DataError as error:
        yield Check("data", "fault", f"{error.where}: {error.message}" if error.where else error.message, error.hint)
        return
    splits = {one.split: one for one in report.splits}
    found = ", ".join(
        f"{split} {splits[split].images if split in splits else 0}"
        + (f" ({splits[split].labelled} labelled)" if split == UNLABELLED and split in splits else "")
        for split in project.config.data.splits
    )
    remarks = f", {report.remarks} worth a look" if report.remarks else ""
    yield Check("data", "fault" if report.faults else "ok", f"{found} images, {report.faults} faults{remarks}")
    faults = [one for one in report.findings if one.severity == "fault"]
    for one in faults[:_MOST_FAULTS]:
        yield Check(one.kind, "fault", f"{one.where}: {one.message}", one.advice)
    if report.faults > _MOST_FAULTS:
        yield Check("data", "fault", f"{report.faults - _MOST_FAULTS} more faults", "annoloop eda")
    for kind, count in report.counts.items():
        if KINDS[kind].severity == "remark":
            first = next(one for one in report.findings if one.kind == kind)
            more = f" and {count - 1} more" if count > 1 else ""
            yield Check(kind, "warning", f"{first.where}{more}: {first.message}", "annoloop eda shows them")


def _training_time(project: Project) -> Iterator[Check]:
    """Try the chosen recipe on the project's own images; where it is hopeless, one that is planned for the machine."""
    recipe = project.config.train.recipe
    report = yield from _planned(project, recipe)
    if report is not None and report.seconds > NIGHT_S and recipe != AUTO:
        yield from _planned(project, AUTO)


def _planned(project: Project, recipe: str) -> Generator[Check, None, PlanReport | None]:
    """What a training would do and how long it would take, validation and scoring included."""
    settings = project.config.train
    length = Length(settings.iterations, None if settings.budget is None else seconds_of(settings.budget))
    train, val = (
        [s for s in project.samples([split]) if s.mask is not None] if split in project.config.data.splits else []
        for split in ("train", "val")
    )
    try:
        report = measured(project, recipe, train, val, length)
    except AnnoloopError as error:
        yield Check("training time", "warning", error.message.splitlines()[0], error.hint)
        return None
    for line in report.lines:
        yield Check(f"plan: {line.what}", "ok", f"{line.chosen}: {line.because}")
    hopeless = report.seconds > NIGHT_S
    parts = ", ".join(f"{part.what} {in_words(part.seconds)}" for part in report.parts)
    found = (
        f"{recipe} on {report.device}: {in_words(report.seconds)} ({parts}); {report.seconds_per_iteration:.2f} s an"
        f" iteration, {report.seconds_per_image:.2f} s an image"
    )
    hint = "a smaller recipe, a GPU, or what --budget allows" if hopeless else None
    yield Check("training time", "warning" if hopeless else "ok", found, hint)
    return report
