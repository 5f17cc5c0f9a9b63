"""What is asked of a push: annoloop.yaml fills in, and a value that cannot be is refused."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from annoloop.errors import ConfigError
from annoloop.project.project import Project
from annoloop.selection.request import PushRequest, Source, push_request


def test_the_file_fills_in_what_is_left_open(project: Project) -> None:
    request = push_request(project.config, 5, source=None, random_share=0.5, assignees=("ann",))
    assert request == PushRequest(5, random_share=0.5, assignees=("ann",))
    assert request.source == project.config.push.source


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("worst", 0, "0 is not 1 or more"),
        ("source", "labels", f"'labels' is not {' or '.join(get_args(Source))}"),
        ("shape", "box", "'box' is not mask or polygon"),
        ("random_share", 1.5, "1.5 is not 0 to 1"),
        ("tolerance_px", -1.0, "-1.0 is not 0 or more"),
        ("segment_size", -1, "-1 is not 0 or more"),
        ("issues_per_frame", 21, "21 is not 0 to 20"),
    ],
)
def test_a_value_that_cannot_be_is_refused(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: {allowed}"):
        PushRequest(**({"worst": 1} | {name: value}))
