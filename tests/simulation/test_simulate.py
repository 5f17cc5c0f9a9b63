"""A whole simulation with real trainings: resumable, and nothing of the project is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from running_loop import train_here

from annoloop.cli.main import commands
from annoloop.data.config import FILE_NAME
from annoloop.data.mmseg_folders import read_label_map
from annoloop.errors import ConfigError
from annoloop.loop.setup.start import init
from annoloop.project.project import Project
from annoloop.simulation.arms import Bench, proposals, steps, whole_images, wrong_px
from annoloop.simulation.damage import KINDS
from annoloop.simulation.made_data import COLORS, NAMES, make_data
from annoloop.simulation.simulate import SimulateRequest, simulate
from annoloop.simulation.working_copy import Harm, begin, true_map

REQUEST = SimulateRequest(
    arms=("dice", "proposals"), seeds=1, share=0.3, first_iterations=4, iterations=2, damaged=0.5, missing=0.2
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("simulate")
    data = make_data(made, {"train": 10, "val": 3, "test": 3}, size_hw=(48, 64), damaged_share=0.0, seed=5)
    init(data.root, made, classes=NAMES, palette=COLORS)
    train_here(made)
    return made


@pytest.fixture(scope="module")
def project(folder: Path) -> Iterator[Project]:
    with Project(folder / FILE_NAME) as opened:
        yield opened


def masks(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted((folder / "data").rglob("*.png"))}


def test_a_working_copy_has_the_harm_that_was_asked_for(project: Project, tmp_path: Path) -> None:
    begin(project, tmp_path / "a", Harm(0.5, KINDS, 0.2), 3, lambda items, *_: iter(items))
    begin(project, tmp_path / "b", Harm(0.5, KINDS, 0.2), 3, lambda items, *_: iter(items))
    with Project(tmp_path / "a" / FILE_NAME) as working, Project(tmp_path / "b" / FILE_NAME) as again:
        data = working.config.data
        assert {s.split for s in working.samples()} == {"train", "val", "test", "pool"}
        assert len(working.samples(["pool"])) == 2
        assert all(s.mask is None for s in working.samples(["pool"]))
        wrong = {
            s.id: wrong_px(read_label_map(s.mask, data), true_map(tmp_path / "a", s.id, data), 255)
            for s in working.samples(["train", "val", "test"])
            if s.mask is not None
        }
        assert sum(px > 0 for px in wrong.values()) == 4, "half of the eight that have a label"
        assert all(name.startswith("train/") for name, px in wrong.items() if px)
        for one, other in zip(working.samples(), again.samples(), strict=True):
            assert one.id == other.id
            assert (one.mask is None) == (other.mask is None)
            if one.mask is not None and other.mask is not None:
                assert one.mask.read_bytes() == other.mask.read_bytes()


@pytest.fixture(scope="module")
def first(project: Project, folder: Path) -> tuple[object, dict[str, bytes]]:
    before = masks(folder)
    return simulate(project, REQUEST), before


def test_every_arm_is_measured_and_the_project_is_as_it_was(
    first: tuple[object, dict[str, bytes]], project: Project, folder: Path
) -> None:
    report, before = first
    assert masks(folder) == before
    assert project.ledger.runs() == []
    arms = {one.arm: one for one in report.arms}  # type: ignore[attr-defined]
    assert list(arms) == ["nothing", "everything", "dice", "proposals"]
    assert (arms["nothing"].mended, arms["nothing"].minutes) == (0, 0)
    assert arms["everything"].mended == pytest.approx(1)
    assert all(0 <= one.mended <= 1 and one.mean_dice is not None for one in arms.values())
    assert arms["dice"].minutes <= 0.3 * arms["everything"].minutes + 1e-9
    assert {one.source for one in report.beginnings} == {"label", "prediction", "both"}  # type: ignore[attr-defined]
    page = report.page.read_text()  # type: ignore[attr-defined]
    assert "<svg" in page
    assert "proposals" in page
    assert json.loads(report.page.with_name("simulate.json").read_text())["seeds"] == 1  # type: ignore[attr-defined]


def test_the_same_command_trains_nothing_again(
    first: tuple[object, dict[str, bytes]], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annoloop.simulation.simulate.retrain", lambda *_, **__: pytest.fail("trained again"))
    assert simulate(project, REQUEST) == first[0]
    fewer = simulate(project, replace(REQUEST, arms=("dice",)))
    assert [one.arm for one in fewer.arms] == ["nothing", "everything", "dice"]


def test_other_minutes_begin_with_the_same_first_models(
    first: tuple[object, dict[str, bytes]], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annoloop.simulation.simulate.retrain", lambda *_, **__: pytest.fail("trained again"))
    report = simulate(project, replace(REQUEST, iterations=0, share=0.1, costs=("verdict=1",)))
    assert all(one.mean_dice is None and one.share is None for one in report.arms)
    assert report.told[0].startswith("nothing was trained")
    whole = next(one for one in first[0].arms if one.arm == "everything")  # type: ignore[attr-defined]
    assert all(one.minutes <= 0.1 * whole.minutes + 1e-9 for one in report.arms if one.arm != "everything")
    for file in project.state_dir.glob("simulate/*/rows-*.json"):
        if json.loads(file.read_text())["rows"][0]["mean_dice"] is None:
            file.unlink()


def test_a_killed_simulation_goes_on_where_it_was(
    first: tuple[object, dict[str, bytes]], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = project.state_dir.glob("simulate/*/rows-*.json")
    whole = json.loads(file.read_text())
    file.write_text(json.dumps(whole | {"rows": whole["rows"][:-1]}))
    asked: list[object] = []
    real = __import__("annoloop.loop.retrain", fromlist=["retrain"]).retrain
    monkeypatch.setattr("annoloop.simulation.simulate.retrain", lambda *a, **k: (asked.append(a[1]), real(*a, **k))[1])
    report = simulate(project, REQUEST)
    assert len(asked) == 1, "only the arm whose row was lost"
    assert [one.arm for one in report.arms] == ["nothing", "everything", "dice", "proposals"]


def test_steps_mend_what_they_say(first: tuple[object, dict[str, bytes]], project: Project) -> None:
    (folder,) = project.state_dir.glob("simulate/*/seed-0/first")
    with Project(folder / FILE_NAME) as working:
        run = working.current_run()
        assert run is not None
        bench = Bench(working, folder, run, 0)
        track, watch = (lambda items, *_: iter(items)), (lambda _: None)
        whole = whole_images(bench, track, watch)
        data = working.config.data
        labels = {s.id: read_label_map(s.mask, data) for s in working.samples(["train"]) if s.mask is not None}
        for step in steps(bench, "proposals", whole, lambda _: None, track, watch):
            truth = true_map(folder, step.sample_id, data)
            assert step.label_map is not None
            gained = wrong_px(labels[step.sample_id], truth, 255) - wrong_px(step.label_map, truth, 255)
            assert step.mended_px == gained >= 0
            labels[step.sample_id] = step.label_map
        weights = [one.weight for one in proposals(bench, track, watch)]
        assert weights == sorted(weights, reverse=True)
        everything = list(steps(bench, "everything", whole, lambda _: None, track, watch))
        assert sum(one.mended_px for one in everything) == sum(
            wrong_px(label, true_map(folder, name, data), 255)
            for name, label in (
                {s.id: np.zeros_like(true_map(folder, s.id, data)) for s in working.samples(["pool"])}
                | {s.id: read_label_map(s.mask, data) for s in working.samples(["train"]) if s.mask is not None}
            ).items()
        )


@pytest.mark.parametrize(
    ("details", "says"),
    [
        ({"arms": ("dise",)}, "no criterion"),
        ({"on": "holdout"}, "needs a split 'holdout'"),
        ({"on": "train"}, "nothing is trained on"),
        ({"costs": ("verdikt=2",)}, "no cost"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(
    project: Project, details: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        simulate(project, replace(REQUEST, seeds=2, **details))  # type: ignore[arg-type]


def test_the_command_says_what_is_wrong_with_a_number(folder: Path) -> None:
    found = CliRunner().invoke(commands, ["simulate", "--project", str(folder), "--share", "2"])
    assert found.exit_code == 2
    assert "--share" in found.output
