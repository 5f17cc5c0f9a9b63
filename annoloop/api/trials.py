"""The function for simulations: what correcting brings on your own data.

Not here: how it is done (``simulation/``).  The fact to know: the project stays as it is; all is done in projects of
the simulation's own, below ``.annoloop/simulate``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from annoloop.api.arguments import names_of
from annoloop.progress import Say, Track, silent, unsaid
from annoloop.project.project import Project
from annoloop.selection.scoring import Watch, unwatched
from annoloop.simulation import simulate as _simulate
from annoloop.simulation.damage import KINDS, Kind
from annoloop.simulation.simulate import ARMS, SimulateRequest
from annoloop.simulation.trial_report import SimulateReport


def simulate(
    project: Project,
    *,
    arms: Sequence[str] = ARMS,
    seeds: int = 3,
    damaged: float = 0.3,
    kinds: Sequence[Kind] = KINDS,
    missing: float = 0.0,
    share: float = 0.1,
    iterations: int = 200,
    first_iterations: int = 400,
    folds: int = 0,
    recipe: str | None = None,
    on: str = "test",
    costs: Mapping[str, float] | None = None,
    anew: bool = False,
    say: Say = unsaid,
    track: Track = silent,
    watch: Watch = unwatched,
) -> SimulateReport:
    """Damage labels on purpose, correct them in different ways for the same minutes, and compare; as ``annoloop
    simulate``.  The same call goes on with one that was cut off.

    Args:
        arms: "random", "proposals", or criteria of ``push``; correcting nothing and everything come with them.
        damaged, missing: shares (0 ... 1) of the training labels.
        share: the minutes of each arm, as a share (0 ... 1) of those that correcting everything takes.
        iterations: of each arm's training; 0 compares pixels and minutes only.
        costs: seconds of ``image``, ``verdict``, ``delete``, ``draw``, ``outline_px``; what is not named stays.

    Returns:
        a line for each arm, what can be told, and the page.

    Raises:
        ConfigError: an argument that cannot be, no background class, or no such split.
        DataError: a file cannot be read, or too few masks have an object to damage.
        LedgerError: another annoloop is at work in the project.
        TrainingError: a training failed.
    """
    request = SimulateRequest(
        names_of(arms), seeds, damaged, names_of(kinds), missing, share, iterations, first_iterations, folds,  # type: ignore[arg-type]
        recipe, on, tuple(f"{name}={value}" for name, value in (costs or {}).items()), anew,
    )  # fmt: skip
    with project.locked("simulate"):
        return _simulate.simulate(project, request, say=say, track=track, watch=watch)
