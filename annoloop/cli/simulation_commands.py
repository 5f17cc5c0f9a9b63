"""The command that measures what correcting brings: simulate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from annoloop.cli.options import common, example, on_all_cores, open_screen, opened_project

if TYPE_CHECKING:
    from annoloop.simulation.damage import Kind

_KINDS: tuple[Kind, ...] = ("removed", "shifted", "swapped", "holes", "ragged")


@click.command("simulate", epilog=example("annoloop simulate --seeds 3", "annoloop simulate --iterations 0 --arm dice"))
@click.option(
    "--arm",
    "arms",
    multiple=True,
    help="random, proposals, or a criterion of push --by; may be repeated. Correcting nothing and everything always"
    " come with them. Default: six arms.",
)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="How often all of it is done.")
@click.option(
    "--damaged", type=click.FloatRange(0, 1), default=0.3, show_default=True, help="Share of labels made wrong."
)
@click.option("--kind", "kinds", multiple=True, type=click.Choice(_KINDS), help="Of damage; default: all five.")
@click.option(
    "--missing", type=click.FloatRange(0, 0.9), default=0.0, show_default=True, help="Share of labels taken away."
)
@click.option(
    "--share",
    type=click.FloatRange(0.001, 1),
    default=0.1,
    show_default=True,
    help="The minutes of each arm, as a share of those that correcting everything takes.",
)
@click.option(
    "--iterations",
    type=click.IntRange(0),
    default=200,
    show_default=True,
    help="Of each arm's training; 0: compare pixels and minutes only, which takes minutes instead of hours.",
)
@click.option(
    "--first-iterations", type=click.IntRange(1), default=400, show_default=True, help="Of the first model's training."
)
@click.option("--folds", type=click.IntRange(2, 10), help="Of the first model's training, as retrain --folds.")
@click.option("--recipe", help="Of all trainings; default: annoloop.yaml's.")
@click.option("--on", default="test", show_default=True, help="The split that models are scored on.")
@click.option("--cost", "costs", multiple=True, metavar="NAME=S", help="image, verdict, delete, draw or outline_px.")
@click.option("--anew", is_flag=True, help="Forget what an earlier simulation like this one found.")
@on_all_cores
@common
def simulate_command(folds: int | None, arms: tuple[str, ...], kinds: tuple[Kind, ...], **options: Any) -> None:
    """Measure what correcting brings on your own data; ^C, and the same command goes on."""
    from annoloop.simulation.simulate import ARMS, SimulateRequest, simulate

    names = ("seeds", "damaged", "missing", "share", "iterations", "first_iterations", "recipe", "on", "costs", "anew")
    request = SimulateRequest(
        arms=arms or ARMS, kinds=kinds or _KINDS, folds=folds or 0, **{name: options[name] for name in names}
    )
    from annoloop.training.child import require_training

    require_training()
    screen = open_screen(options)
    with opened_project(options, screen, changes="simulate") as project, screen.watch() as watch:
        report = simulate(project, request, say=screen.note, track=screen.track, watch=watch)
    screen.result(report)
