"""The commands about models: retrain and evaluate."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click

from annoloop.cli.options import common, example, on_all_cores, open_screen, opened_project, seconds_given


@click.command("retrain", epilog=example("annoloop retrain --budget 30m", "annoloop retrain --recipe unet"))
@click.option(
    "--recipe",
    help="auto: planned; unet_lite0, deeplabv3plus_r50, segformer_b2, unet, unet_small, unet_tiny, or an mmseg config;"
    " default: that of the current model, else annoloop.yaml's.",
)
@click.option("--plan", is_flag=True, help="Say what would be done, why and how long it would take; train nothing.")
@click.option("--budget", help="How long it may take, scoring included: 90s, 15m, 2h, 1h30m.")
@click.option("--iterations", type=click.IntRange(1), help="Training iterations; default: the recipe's.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to train.")
@click.option("--gpus", type=click.IntRange(1), help="Processes on each machine, one for each GPU.")
@click.option("--nodes", type=click.IntRange(1), help="Machines; inside a slurm job they are started by srun.")
@click.option("--pretrained", help="auto: what the recipe names; none; or a file of weights for its backbone.")
@click.option("--seed", type=int, help="Random seed.")
@click.option("--from-scratch", is_flag=True, help="Do not start from the current model.")
@click.option("--allow-test-images", is_flag=True, help="Train even on images that are in the test split, too.")
@click.option(
    "--allow-missing-classes",
    is_flag=True,
    help="Train where a class has no pixel, and promote a model that never predicts one.",
)
@click.option(
    "--folds",
    type=click.IntRange(2, 10),
    help="So many more trainings, for predictions by models that have not seen the label; default: none.",
)
@click.option(
    "--track",
    "tracker",
    type=click.Choice(["none", "mlflow", "tensorboard", "wandb"]),
    help="Where the training can be followed, too; default: train.track of annoloop.yaml.",
)
@common
def retrain_command(budget: str | None, plan: bool, **options: Any) -> None:
    """Train on the current masks; promote the model if it is better. ^C keeps the last checkpoint."""
    from annoloop.loop.retrain import plan_training, retrain
    from annoloop.loop.training_request import RetrainRequest
    from annoloop.training.child import require_training

    if budget is not None and options["iterations"] is not None:
        raise click.UsageError("--budget or --iterations, not both")
    asked = {one.name: options[one.name] for one in fields(RetrainRequest) if options.get(one.name) is not None}
    request = RetrainRequest(**asked, budget_s=None if budget is None else seconds_given(budget, "--budget"))
    require_training()  # before the project is opened, and with it anything is written
    screen = open_screen(options)
    if plan:
        with opened_project(options, screen) as project, screen.watch() as watch:
            found = plan_training(project, request, track=screen.track, watch=watch)
        screen.result(found)
        return
    with opened_project(options, screen, changes="retrain") as project, screen.watch() as watch:
        report = retrain(project, request, track=screen.track, watch=watch)
    screen.result(report)


@click.command("evaluate", epilog=example("annoloop evaluate --split val --split test --report"))
@click.option("--split", "splits", multiple=True, default=("val",), show_default=True, help="May be repeated.")
@click.option("--run", "run_id", type=int, help="Number of a run; default: the current model.")
@click.option("--show", default=4, show_default=True, help="How many best, worst, … images to draw.")
@click.option("--report", is_flag=True, help="Write one HTML page on all errors: charts, and images worth a look.")
@click.option("--against", type=int, help="Run that the report compares with; default: the one before.")
@on_all_cores
@common
def evaluate_command(report: bool, against: int | None, **options: Any) -> None:
    """Score a model per class and save pictures of its best and worst images."""
    from annoloop.loop.evaluate import evaluate

    if against is not None and not report:
        raise click.UsageError("--against says what --report compares with: give both")
    screen = open_screen(options)
    with opened_project(options, screen, changes="evaluate") as project, screen.watch() as watch:
        found = evaluate(
            project,
            run_id=options["run_id"],
            splits=options["splits"],
            show=options["show"],
            report=report,
            against=against,
            track=screen.track,
            watch=watch,
        )
    screen.result(found)
