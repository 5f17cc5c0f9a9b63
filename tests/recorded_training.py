"""Events of a training as its child process tells them, for what listens to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from annoloop.training.records import Event

CLASSES = ("background", "disc", "a/b", "a:b")
STARTED = {
    "device": "cpu", "processes": 1, "precision": "bfloat16", "iterations": 40, "batch_size": 8, "train_images": 8,
    "val_images": 3, "parameters": 113797, "versions": {"annoloop": "0.1.0", "torch": "2.13.0+cpu"},
}  # fmt: skip


def loss_at(iteration: int) -> float:
    return 2.0 / iteration


def training(first: int = 1, last: int = 40) -> Iterator[Event]:
    """Iterations ``first`` ... ``last``, validated every 20."""
    yield Event("started", STARTED | {"resumed_from": first - 1})
    for iteration in range(first, last + 1):
        yield Event("iteration", {"iteration": iteration, "loss": loss_at(iteration), "lr": 0.01, "seconds": 0.1})
        if iteration % 20 == 0:
            dice = [0.9, iteration / 100, None, 0.5]
            scores = {"mdice": 0.6, "miou": 0.5, "dice_per_class": dice, "never_predicted": []}
            yield Event("validation", {"iteration": iteration, "best": True, **scores})
    yield Event("prediction", {"image": "x.png", "done": 1, "total": 1})


def on_record(run_dir: Path, events: Sequence[Event]) -> None:
    """As a training leaves them in the folder of its run."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / "events.jsonl").open("a", encoding="utf-8") as record:
        record.writelines(event.to_json() + "\n" for event in events)
