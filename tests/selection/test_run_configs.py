"""A run's config is code: what somebody changed since the training is not run."""

from __future__ import annotations

from pathlib import Path

import pytest

from annoloop.data.images import file_sha256
from annoloop.errors import ConfigError
from annoloop.project.project import Project
from annoloop.selection import scoring
from annoloop.selection.scoring import missing_predictions, predict
from annoloop.training.records import Job


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """What would have been predicted."""
    found: list[Job] = []
    monkeypatch.setattr(scoring, "predict_job", lambda job, watch: found.append(job))
    return found


def _run(project: Project) -> int:
    run = project.ledger.add_run(
        kind_digest="k", recipe="unet_tiny", parent_id=None, class_digest=project.classes.digest
    )
    project.run_dir(run).mkdir(parents=True)
    project.run_config(run).write_text("model = dict()\n")
    return run


def _predict(project: Project, run: int) -> None:
    samples, rows = project.samples(), project.scan(project.samples())
    predict(project, project.ledger.run(run), [(s, rows[s.id]) for s in samples], watch=scoring.unwatched)


def test_a_config_that_was_changed_since_the_training_is_not_run(project: Project, jobs: list[Job]) -> None:
    run = _run(project)
    digest = file_sha256(project.run_config(run))
    project.ledger.put_run_config(run, digest)
    assert project.ledger.run(run).config_sha256 == digest
    _predict(project, run)
    assert [job.recipe for job in jobs] == [project.run_config(run)]
    project.run_config(run).write_text("__import__('os').system('true')\n")
    with pytest.raises(ConfigError, match=f"config of run {run} is not the one .* the ledger has {digest}") as caught:
        _predict(project, run)
    assert (caught.value.where, caught.value.exit_code) == (str(project.run_config(run)), 3)
    assert len(jobs) == 1


def test_a_run_from_before_there_were_digests_predicts(project: Project, jobs: list[Job]) -> None:
    _predict(project, _run(project))
    assert len(jobs) == 1


def test_an_empty_prediction_is_made_again(project: Project) -> None:
    run, samples = _run(project), project.samples()
    rows = project.scan(samples)
    pairs = [(s, rows[s.id]) for s in samples]
    for _, row in pairs:
        for path in project.prediction_paths(run, row.image_sha256):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
    assert missing_predictions(project, run, pairs) == ()
    cut: Path = project.prediction_paths(run, pairs[1][1].image_sha256)[1]
    cut.write_bytes(b"")
    assert [image for image, *_ in missing_predictions(project, run, pairs)] == [samples[1].image]
