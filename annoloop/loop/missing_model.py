"""Which model is used, and why there is none, in words: none was trained or promoted, or it knows other classes.

Not here: what is done with one, or without.  The fact to know: a model counts for the classes that it was trained on:
one more class in annoloop.yaml takes it away until the next training.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from annoloop.errors import ConfigError, some_of
from annoloop.masks.classes import ClassTable
from annoloop.project.project import Project
from annoloop.project.rows import RunRow

_NONE = "there is no model yet"
_MOST_NAMES = 5


def finished_run(project: Project, run_id: int | None, nothing: str) -> RunRow:
    """The run of a number, or the current model; ``nothing`` begins the error, as "nothing to evaluate".

    Raises:
        ConfigError: there is none yet, it is not finished, or it was trained on other classes.
        LedgerError: there is no run of this number.
    """
    run = project.current_run() if run_id is None else project.ledger.run(run_id)
    why = why_no_model(project) if run is None else _why_not(project, run)
    if run is None or why is not None:
        raise ConfigError(f"{nothing}: {why}", where=project.path.parent, hint=_ways_out(project, run_id))
    return run


def whole_run(project: Project, run_id: int | None, nothing: str) -> RunRow:
    """The same of a run that is to predict anew, so that its files must be there, too.

    Raises:
        ConfigError: as ``finished_run``; also a run whose checkpoint or config is gone.
        LedgerError: there is no run of this number.
    """
    run = finished_run(project, run_id, nothing)
    for file in (project.best_checkpoint(run.id), project.run_config(run.id)):
        if not file.is_file():
            raise ConfigError(
                f"{nothing}: run {run.id} has no {file.name} any more; of its model only predictions are left",
                where=file,
                hint="restore the file from a backup, or annoloop retrain",
            )
    return run


def _ways_out(project: Project, run_id: int | None) -> str:
    if run_id is not None:
        return "annoloop log lists the runs; annoloop retrain makes a new one"
    judged = _judged(project)
    if judged is None or on_other_classes(project, judged):
        return "annoloop retrain"
    return f"annoloop retrain makes another; --run {judged.id} takes that one as it is"


def _why_not(project: Project, run: RunRow) -> str | None:
    if run.state != "finished":
        return f"run {run.id} is not finished, but {run.state}"
    other = on_other_classes(project, run)
    return None if other is None else f"run {run.id} {other}"


def why_no_model(project: Project) -> str:
    """Why there is no current model: "run 1 was trained on other classes (crack is new)"."""
    run = project.ledger.current_run()
    if run is None:
        judged = _judged(project)
        return f"no model is promoted yet (run {judged.id}: {judged.verdict})" if judged else _NONE
    other = on_other_classes(project, run)
    return _NONE if other is None else f"run {run.id} {other}"


def _judged(project: Project) -> RunRow | None:
    """Where no run is promoted, the newest that was held against the gate."""
    if project.ledger.current_run() is not None:
        return None
    judged = [one for one in project.ledger.runs() if one.state == "finished" and one.verdict]
    return judged[-1] if judged else None


def on_other_classes(project: Project, run: RunRow) -> str | None:
    """How the classes of a run differ from the project's: "was trained on other classes (crack is new)"; None: not."""
    if run.class_digest == project.classes.digest:
        return None
    return f"was trained on other classes ({_differ(_trained_on(project, run.id), project.classes)})"


def _trained_on(project: Project, run_id: int) -> tuple[str, ...] | None:
    """The names of a run's classes, as its job has them; None where that is gone."""
    try:
        job = json.loads((project.run_dir(run_id) / "job.json").read_text(encoding="utf-8"))
        return tuple(str(name) for name in job["class_names"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _differ(before: Sequence[str] | None, classes: ClassTable) -> str:
    if before is None:
        return "which, is not on record any more"
    now = classes.names
    new, gone = [name for name in now if name not in before], [name for name in before if name not in now]
    parts = [f"{some_of(names, _MOST_NAMES)} {'is' if len(names) == 1 else 'are'} {what}" for names, what in
             ((new, "new"), (gone, "gone")) if names]  # fmt: skip
    if parts:
        return ", ".join(parts)
    return "in another order" if tuple(now) != tuple(before) else "colours, background or ignore differ"
