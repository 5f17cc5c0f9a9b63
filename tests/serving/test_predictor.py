"""The child process that keeps a model loaded: its limits and its ends."""

from __future__ import annotations

import io
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from annoloop.errors import DataError, TrainingError
from annoloop.project.project import Project
from annoloop.training.predictor import Predictor
from annoloop.training.records import Job


def job_of(project: Project) -> Job:
    run = project.current_run()
    assert run is not None
    return project.job(
        "answer",
        project.run_dir(run.id),
        recipe=project.run_config(run.id),
        init_checkpoint=project.best_checkpoint(run.id),
    )


def test_what_comes_back_is_what_is_on_disk_whatever_happens_to_the_child(predicted: Project) -> None:
    sample = predicted.samples()[0]
    row, run = predicted.scan([sample])[sample.id], predicted.current_run()
    assert run is not None
    assert isinstance(sample.image, Path)
    image, large, said = sample.image.read_bytes(), io.BytesIO(), []
    Image.new("RGB", (3000, 3000)).save(large, "BMP")
    with Predictor(job_of(predicted), say=said.append) as predictor:
        for round_number in range(3):
            found = predictor.predict(image)
            assert np.array_equal(found.label_map, predicted.prediction(run.id, row.image_sha256))
            assert np.array_equal(found.confidence, predicted.confidence(run.id, row.image_sha256))
            if round_number == 0:
                with pytest.raises(DataError, match="cannot be read as an image"):
                    predictor.predict(b"no image")
            elif round_number == 1:
                os.kill(predictor.pid, signal.SIGKILL)
        predictor._image_s = 0.2
        with pytest.raises(TrainingError, match=r"took more than 0 s, and was ended"):
            predictor.predict(large.getvalue())
        predictor._image_s = 60
        assert predictor.predict(image).label_map.shape == found.label_map.shape
        child = psutil.Process(predictor.pid)
        folder = Path(predictor._folder.name)
        assert [path.name for path in folder.iterdir()].count("image") == 0
    assert said == ["the predicting process ended (exit code -9): it is started once more"] * 2
    assert not child.is_running()
    assert not folder.exists()
    with pytest.raises(TrainingError, match="was closed"):
        predictor.predict(image)


def test_a_model_that_cannot_be_loaded_is_an_error_at_once(predicted: Project, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there is no such checkpoint"):
        Predictor(replace(job_of(predicted), init_checkpoint=tmp_path / "none.pth"))
