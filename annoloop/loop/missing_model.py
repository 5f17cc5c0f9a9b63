"""Why a project has no model, in words: none was trained or promoted, or the newest one knows other classes.

Not here: what is done without one.  The fact to know: a model counts for the classes that it was trained on: one more
class in annoloop.yaml takes it away until the next training.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from annoloop.errors import some_of
from annoloop.masks.classes import ClassTable
from annoloop.project.project import Project
from annoloop.project.rows import RunRow

_NONE = "there is no model yet"
_MOST_NAMES = 5


def why_no_model(project: Project) -> str:
    """Why there is no current model: "run 1 was trained on other classes (crack is new)"."""
    run = project.ledger.current_run()
    if run is None:
        judged = [one for one in project.ledger.runs() if one.state == "finished" and one.verdict]
        return f"no model is promoted yet (run {judged[-1].id}: {judged[-1].verdict})" if judged else _NONE
    other = on_other_classes(project, run)
    return _NONE if other is None else f"run {run.id} {other}"


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
