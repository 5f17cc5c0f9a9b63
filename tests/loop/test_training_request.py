"""Which recipe a training takes: the one asked for, else the current model's, else annoloop.yaml's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from running_loop import add_model, make_project, train_here

from annoloop.data.config import FILE_NAME
from annoloop.errors import ConfigError, MissingPackageError
from annoloop.loop.training_request import RetrainRequest, chosen_recipe
from annoloop.project.project import Project
from annoloop.training.recipes import recipe_path
from annoloop.training.records import Event


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = make_project(tmp_path, "http://127.0.0.1:9", name="recipes")
    train_here(tmp_path)
    (tmp_path / "own.py").write_text(recipe_path("unet_tiny").read_text(encoding="utf-8"), encoding="utf-8")
    with Project(tmp_path / FILE_NAME) as opened:
        add_model(opened, made.truth, recipe="own.py")
        yield opened


def chosen(project: Project, request: RetrainRequest) -> tuple[str, list[str]]:
    events: list[Event] = []
    recipe = chosen_recipe(project, request, project.current_run(), events.append)
    return recipe, [str(event.fields["message"]) for event in events]


def test_what_is_asked_for_goes_first(project: Project) -> None:
    assert chosen(project, RetrainRequest(recipe="unet_small")) == ("unet_small", [])
    assert chosen(project, RetrainRequest(from_scratch=True)) == ("unet_tiny", [])


def test_the_current_models_recipe_goes_on_and_that_is_said(project: Project) -> None:
    recipe, (said,) = chosen(project, RetrainRequest())
    assert recipe == "own.py"
    assert "goes on with own.py" in said
    assert "--recipe unet_tiny" in said


def test_a_recipe_that_is_gone_stops_and_says_so(project: Project) -> None:
    (project.path.parent / "own.py").unlink()
    with pytest.raises(ConfigError, match=r"own\.py, the recipe of the current model \(run 1\), is not there any more"):
        chosen(project, RetrainRequest())


def test_a_package_that_a_recipe_needs_is_named_before_anything_is_begun(project: Project) -> None:
    base = project.path.parent / "base.py"
    base.write_text("model = dict(type='EncoderDecoder', backbone=dict(type='mmpretrain.ConvNeXt'))", encoding="utf-8")
    own = project.path.parent / "convnext.py"
    own.write_text("_base_ = './base.py'", encoding="utf-8")
    with pytest.raises(MissingPackageError, match="mmpretrain is not installed") as caught:
        chosen(project, RetrainRequest(recipe="convnext.py"))
    assert caught.value.exit_code == 8
    assert "onedl-mmpretrain" in str(caught.value.hint)
