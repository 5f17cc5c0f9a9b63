"""Images that are named go with their labels before any training; and why there is no model is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from running_loop import Loop, add_model, make_project, mask_bytes, opened

from annoloop.cli.demo import Server
from annoloop.cli.main import run
from annoloop.data.config import FILE_NAME, ClassConfig, load, render
from annoloop.errors import ConfigError
from annoloop.loop.evaluate import evaluate
from annoloop.loop.missing_model import why_no_model
from annoloop.loop.push import push
from annoloop.loop.status import status
from annoloop.project.project import Project
from annoloop.selection.request import PushRequest


@pytest.fixture
def bare(tmp_path: Path, sandbox: Server) -> Iterator[Loop]:
    """A project without a model, and a session with the sandbox."""
    made = make_project(tmp_path, sandbox.url, name=f"test-{uuid4().hex[:8]}")
    with opened(tmp_path, sandbox) as (project, cvat):
        yield Loop(tmp_path, made.truth, sandbox, project, cvat)


NAMED = ("train/0003", "train/0001")


def test_named_images_go_with_their_labels_and_come_back(bare: Loop) -> None:
    before = mask_bytes(bare.project)
    pushed = bare.push(only=NAMED, source="label")
    assert {frame.sample_id for frame in pushed.frames} == set(NAMED)
    assert (pushed.run, [frame.issues for frame in pushed.frames]) == (None, [(), ()])
    bare.complete(pushed.task)
    report = bare.pull(pushed.task)
    assert report.edited_px == 0
    assert mask_bytes(bare.project) == before


def test_a_dry_run_and_the_same_push_again_need_none_either(bare: Loop) -> None:
    request = PushRequest(2, only=NAMED)
    assert push(bare.project, None, request).run is None
    first = push(bare.project, bare.cvat, request)
    assert push(bare.project, bare.cvat, request, again=False).task == first.task
    add_model(bare.project, bare.truth)
    assert bare.push(only=("train/0002",), source="label").run is not None


def test_what_needs_a_model_says_so(bare: Loop) -> None:
    for details in ({}, {"only": NAMED, "source": "prediction"}):
        with pytest.raises(ConfigError, match="there is no model yet, and one is needed to"):
            bare.push(**details)
    bare.project.mask_path("train/0001").unlink()
    with pytest.raises(ConfigError, match="has no labels, and there is no model to draw some") as caught:
        bare.push(only=NAMED, source="label")
    assert caught.value.where == "train/0001"


# why there is none


def _with_classes(folder: Path, *names: str) -> None:
    file = folder / FILE_NAME
    classes = tuple(ClassConfig(name=name) for name in names)
    file.write_text(render(load(file).model_copy(update={"classes": classes})), encoding="utf-8")


def test_a_class_that_was_added_is_named(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    run_id, names = loop.project.ledger.runs()[-1].id, loop.project.classes.names
    job = loop.project.run_dir(run_id) / "job.json"
    job.parent.mkdir(parents=True, exist_ok=True)
    job.write_text(f'{{"class_names": {list(names)!r}}}'.replace("'", '"'))
    _with_classes(loop.folder, *names, "crack")
    with Project(loop.folder / FILE_NAME) as project:
        said = f"run {run_id} was trained on other classes (crack is new)"
        assert why_no_model(project) == said
        report = status(project)
        assert (report.no_model, report.because, report.current_run) == (said, said, None)
        with pytest.raises(ConfigError, match=r"nothing to evaluate: run \d+ was trained on other classes"):
            evaluate(project)
    assert run(["status", "--project", str(loop.folder)]) == 0
    assert f"model: {said}; 1 runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("b", "a"), "in another order"),
        (("a",), "b is gone"),
        (("a", "c", "d"), "c, d are new, b is gone"),
        (("a", "b"), "colours, background or ignore differ"),
    ],
)
def test_how_classes_differ(loop: Loop, names: tuple[str, ...], said: str) -> None:
    job = loop.project.run_dir(loop.project.ledger.runs()[-1].id) / "job.json"
    job.parent.mkdir(parents=True, exist_ok=True)
    job.write_text('{"class_names": ["a", "b"]}')
    file = loop.folder / FILE_NAME
    classes = tuple(ClassConfig(name=name) for name in names)
    file.write_text(render(load(file).model_copy(update={"classes": classes, "background": "ignore"})))
    with Project(file) as project:
        assert f"({said})" in why_no_model(project)
        job.unlink()
        assert "not on record" in why_no_model(project)


def test_a_run_that_was_not_promoted_can_be_named(bare: Loop) -> None:
    ledger, digest = bare.project.ledger, bare.project.classes.digest
    run_id = ledger.add_run(kind_digest="made", recipe="unet_tiny", parent_id=None, class_digest=digest)
    ledger.judge_run(run_id, val_dice=0.5, promoted=False, verdict="it never predicts disc")
    with pytest.raises(ConfigError, match="no model is promoted yet") as caught:
        evaluate(bare.project)
    assert caught.value.hint == f"annoloop retrain makes another; --run {run_id} takes that one as it is"
    _with_classes(bare.folder, *bare.project.classes.names, "crack")
    with Project(bare.folder / FILE_NAME) as project, pytest.raises(ConfigError) as caught:
        evaluate(project)
    assert caught.value.hint == "annoloop retrain"
