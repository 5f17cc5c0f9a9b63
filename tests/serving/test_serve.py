"""``annoloop serve`` over HTTP, called as CVAT calls: what it draws is what ``evaluate`` scored."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from lambda_manager import encoded, painted
from made_model import add_made_model
from PIL import Image
from running_service import Served, new_project, serving
from scipy import ndimage

from annoloop.data.config import FILE_NAME
from annoloop.errors import ConfigError
from annoloop.project.project import Project
from annoloop.serving.calls import Limits
from annoloop.serving.http_thread import parse_listen
from annoloop.serving.server import exposed, serve
from annoloop.simulation.made_data import NAMES

DETECTOR, INTERACTOR = "annoloop-my-steel", "annoloop-my-steel-click"
ROOT = Path(__file__).parents[2]


def image_bytes(project: Project, number: int = 0) -> tuple[bytes, np.ndarray, np.ndarray]:
    """An image file, and the project's own prediction and confidence of it."""
    sample = project.samples()[number]
    row = project.scan([sample])[sample.id]
    run = project.current_run()
    assert run is not None
    return (
        sample.image.read_bytes(),
        project.prediction(run.id, row.image_sha256),
        project.confidence(run.id, row.image_sha256),
    )


def test_cvat_finds_a_detector_and_an_interactor(served: Served) -> None:
    found = served.cvat.functions()
    assert list(found) == [DETECTOR, INTERACTOR]
    about = found[DETECTOR]["metadata"]["annotations"]
    assert (about["type"], about["name"]) == ("detector", "My Steel (run 1)")
    assert [(one["name"], one["type"]) for one in json.loads(about["spec"])] == [(n, "mask") for n in NAMES[1:]]
    about = found[INTERACTOR]["metadata"]["annotations"]
    assert (about["min_pos_points"], about["min_neg_points"], about["startswith_box_optional"]) == ("0", "0", "true")


@pytest.mark.parametrize("name", [None, DETECTOR])
def test_a_detection_is_the_prediction_pixel_for_pixel(served: Served, predicted: Project, name: str | None) -> None:
    for number in range(len(predicted.samples())):
        image, prediction, confidence = image_bytes(predicted, number)
        shapes = served.cvat.detect(image, name).body
        assert np.array_equal(painted(shapes, NAMES, prediction.shape, 0), prediction)
        for shape in shapes:
            assert shape["label"] in NAMES[1:]
            assert shape.keys() == {"label", "type", "mask", "points", "confidence", "attributes", "group_id"}
            assert len(shape["points"]) >= 6
            (alone,) = [painted([shape], NAMES, prediction.shape, 0) > 0]
            assert shape["confidence"] == pytest.approx(confidence[alone].mean() / 255, abs=1e-4)


def test_a_threshold_leaves_out_what_is_less_sure(served: Served, predicted: Project) -> None:
    image, *_ = image_bytes(predicted)
    every = served.cvat.detect(image).body
    middle = sorted(one["confidence"] for one in every)[len(every) // 2]
    assert served.cvat.detect(image, threshold=middle).body == [one for one in every if one["confidence"] >= middle]
    assert served.cvat.detect(image, threshold=1).body == []


def region_at(prediction: np.ndarray, x: int, y: int) -> np.ndarray:
    numbers, _ = ndimage.label(prediction == prediction[y, x], np.ones((3, 3)))
    return numbers == numbers[y, x]


@pytest.mark.parametrize("name", [None, INTERACTOR])
def test_clicks_and_boxes_take_regions_of_the_prediction(served: Served, predicted: Project, name: str | None) -> None:
    image, prediction, _ = image_bytes(predicted, 1)
    rows, columns = np.nonzero(prediction)
    rng = np.random.default_rng(0)
    for _ in range(8):
        one, other = rng.integers(0, rows.size, 2)
        (x1, y1), (x2, y2) = (int(columns[one]), int(rows[one])), (int(columns[other]), int(rows[other]))
        first, second = region_at(prediction, x1, y1), region_at(prediction, x2, y2)
        taken = served.cvat.interact(image, [[x1 + 0.5, y1 + 0.9]], name=name).body["mask"]
        assert np.array_equal(np.array(taken, bool), first)
        taken = served.cvat.interact(image, [[x1, y1], [x2, y2]], name=name).body["mask"]
        assert np.array_equal(np.array(taken, bool), first | second)
        taken = served.cvat.interact(image, [[x1, y1]], [[x2, y2]], name=name).body["mask"]
        assert np.array_equal(np.array(taken, bool), first & ~second)
        box = np.zeros(prediction.shape, bool)
        left, top, right, bottom = 5, 7, 30, 33
        box[top:bottom, left:right] = True
        for written in ([[left, top], [right, bottom]], [left, top, right, bottom], [[right, bottom], [left, top]]):
            taken = served.cvat.interact(image, box=written, name=name).body["mask"]
            assert np.array_equal(np.array(taken, bool), box & (prediction > 0))
        taken = served.cvat.interact(image, neg=[[x2, y2]], box=[[left, top], [right, bottom]], name=name).body["mask"]
        assert np.array_equal(np.array(taken, bool), box & (prediction > 0) & ~second)


def test_a_click_on_the_background_takes_nothing(served: Served, predicted: Project) -> None:
    image, prediction, _ = image_bytes(predicted)
    (y, *_), (x, *_) = np.nonzero(prediction == 0)
    reply = served.cvat.interact(image, [[int(x), int(y)]])
    assert reply.status == 200
    assert not np.array(reply.body["mask"]).any()
    height, width = prediction.shape
    assert served.cvat.interact(image, [[width, height]]).status == 200  # the far corner belongs to the last pixel


def png(size: tuple[int, int], mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, "PNG")
    return stream.getvalue()


def test_what_cannot_be_answered_is_refused_in_words(served: Served, predicted: Project) -> None:
    image, *_ = image_bytes(predicted)
    good = encoded(image)
    refused: list[tuple[Any, int, str]] = [
        ([], 400, "must be a JSON object"),
        ({}, 400, "image: the bytes of an image file as base64"),
        ({"image": 3}, 400, "image: the bytes"),
        ({"image": "/etc/passwd"}, 400, "no base64"),
        ({"image": "L2V0Yy9wYXNzd2Q="}, 400, "this is no image"),
        ({"image": encoded(image[: len(image) // 2])}, 400, "image: "),
        ({"image": encoded(png((20_000, 20_000), "1"))}, 413, "20000 x 20000 px are more than"),
        ({"image": good, "threshold": "much"}, 400, "threshold: much is no number"),
        ({"image": good, "threshold": 1.5}, 400, "threshold: 1.5 is no number from 0 to 1"),
        ({"image": good, "pos_points": []}, 400, "a click or a box is needed"),
        ({"image": good, "pos_points": 7}, 400, "pos_points: a list"),
        ({"image": good, "pos_points": [[1]]}, 400, "is no point x, y"),
        ({"image": good, "pos_points": [[True, 1]]}, 400, "is no point x, y"),
        ({"image": good, "pos_points": [[-1, 1]]}, 400, "is not in the image of 64 x 48 px"),
        ({"image": good, "pos_points": [[1e400, 1]]}, 400, "is no point x, y"),
        ({"image": good, "pos_points": [[10**400, 1]]}, 400, "is no point x, y"),
        ({"image": good, "pos_points": [[1, 1]] * 1001}, 400, "at most 1000 points"),
        ({"image": good, "obj_bbox": [1, 2, 3]}, 400, "is no box"),
        ({"image": good, "obj_bbox": [[1, 2], [65, 3]]}, 400, "is not in the image"),
    ]
    for payload, status, said in refused:
        reply = served.cvat.call(payload)
        assert (reply.status, said in reply.body["message"]) == (status, True), reply
        assert "annoloop-predictor" not in reply.body["message"]
    assert served.cvat.request("/", b"{").status == 400
    assert served.cvat.request("/", b"[" * 100_000).status == 400
    assert served.cvat.request("/", b"\xff\xfe").status == 400
    assert served.cvat.request("/nothing").status == 404
    assert served.cvat.request("/").status == 405
    assert served.cvat.request("/api/functions/other").body["message"].startswith("there is no function 'other'")
    assert served.cvat.request("/api/function_invocations", b"{}").status == 400
    assert served.cvat.call({"image": good}, "other").status == 404
    assert served.cvat.request("/", b"{}", {"origin": "http://evil.example"}).status == 403
    assert served.cvat.request("/api/functions", None, {"origin": "http://evil.example"}).status == 403
    assert served.cvat.detect(image).status == 200


def test_a_huge_body_is_refused_and_not_kept(served: Served) -> None:
    before = psutil.Process().memory_info().rss
    told = served.cvat.request("/", bytes(80 << 20))
    assert (told.status, told.body["message"]) == (413, "the body is larger than 64 MiB")
    address = served.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1]))) as client:  # of a length that nobody told
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
        for _ in range(80):
            client.sendall(piece)
        client.sendall(b"0\r\n\r\n")
        assert b" 413 " in client.recv(200)
    assert psutil.Process().memory_info().rss - before < 300 << 20


def test_fifty_requests_at_once_are_all_answered_in_bounded_memory(served: Served, predicted: Project) -> None:
    image, prediction, _ = image_bytes(predicted)
    rng = np.random.default_rng(1)
    others = []
    for _ in range(25):
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (700, 700, 3), dtype=np.uint8)).save(stream, "PNG")
        others.append(stream.getvalue())
    before = psutil.Process().memory_info().rss
    with ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(served.cvat.detect, [image, *others] + [image] * 24))
    assert [reply.status for reply in replies] == [200] * 50
    for reply in (replies[0], replies[-1]):
        assert np.array_equal(painted(reply.body, NAMES, prediction.shape, 0), prediction)
    assert psutil.Process().memory_info().rss - before < 1500 << 20  # the replies among them


def test_beyond_the_queue_requests_are_sent_away_for_a_while(model_folder: Path, predicted: Project) -> None:
    image, *_ = image_bytes(predicted)
    with serving(model_folder, Limits(at_once=1, waiting=2)) as narrow, ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(narrow.cvat.detect, [image] * 12))
        statuses = [reply.status for reply in replies]
        assert set(statuses) == {200, 503}
        away = next(reply for reply in replies if reply.status == 503)
        assert away.headers["retry-after"] == "5"
        assert "requests wait already" in away.body["message"]
        assert narrow.cvat.detect(image).status == 200


def test_a_body_that_does_not_come_frees_its_place(model_folder: Path, predicted: Project) -> None:
    image, *_ = image_bytes(predicted)
    with serving(model_folder, Limits(at_once=1, read_s=0.5, drain_s=0.1)) as one:
        host, port = one.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
            assert one.cvat.detect(image).status == 200
            assert b" 408 " in slow.recv(200)


def test_an_image_is_predicted_once(served: Served) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(9).integers(0, 255, (900, 900, 3), dtype=np.uint8)).save(stream, "PNG")
    times = []
    for _ in range(3):
        began = time.perf_counter()
        assert served.cvat.interact(stream.getvalue(), [[3, 3]]).status == 200
        times.append(time.perf_counter() - began)
    assert min(times[1:]) < times[0]


def test_a_predicting_process_that_died_is_started_once_more(served: Served) -> None:
    models = [one for one in psutil.Process().children() if any("mmseg.worker" in part for part in one.cmdline())]
    max(models, key=lambda one: one.create_time()).kill()  # other tests may have one, too
    assert served.cvat.detect(png((50, 40))).status == 200
    assert any("it is started once more" in line for line in served.said)


def test_a_newer_model_answers_as_soon_as_it_is_promoted(tmp_path: Path) -> None:
    new_project(tmp_path)
    image = png((64, 48))
    with serving(tmp_path) as one:
        before = one.cvat.detect(image).body
        with Project(tmp_path / FILE_NAME) as project:
            add_made_model(project, seed=5)
        deadline = time.monotonic() + 60
        while not any("run 2 was promoted" in line for line in one.said) and time.monotonic() < deadline:
            assert one.cvat.detect(image).status == 200
            time.sleep(0.1)
        assert "run 2 was promoted and answers from now on, in place of run 1" in one.said
        assert one.cvat.functions()[DETECTOR]["metadata"]["annotations"]["name"] == "My Steel (run 2)"
        assert one.cvat.detect(image).body != before


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_cleanly(model_folder: Path, ending: signal.Signals) -> None:
    command = [sys.executable, "-m", "annoloop", "serve", "--project", str(model_folder)]
    command += ["--listen", "127.0.0.1:0", "--json"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None
    lines = ""
    while not lines.endswith("}\n"):
        lines += child.stdout.readline()
    report = json.loads(lines)
    with urllib.request.urlopen(f"{report['url']}/api/functions") as response:
        assert list(json.load(response)) == report["functions"]
    inside = psutil.Process(child.pid).children(recursive=True)
    assert inside
    os.kill(child.pid, ending)
    _, said = child.communicate(timeout=30)
    assert child.returncode == 0
    assert "Traceback" not in said
    psutil.wait_procs(inside, 10)
    assert not [one for one in inside if one.is_running()]


def test_an_address_must_be_one(project: Project) -> None:
    assert parse_listen("localhost:1") == ("127.0.0.1", 1)
    assert parse_listen("[::1]:8070") == ("::1", 8070)
    for wrong in ("8070", "127.0.0.1", "127.0.0.1:http", "example.org:80", "127.0.0.1:70000", "127.0.0.1:-1", ""):
        with pytest.raises(ConfigError, match="is no address and port"):
            parse_listen(wrong)
    assert exposed("127.0.0.1") is None
    assert "no secret protects these calls" in str(exposed("172.17.0.1"))
    assert "every network" in str(exposed("0.0.0.0"))
    with pytest.raises(ConfigError, match="there is nothing to serve: there is no model yet"):
        serve(project, listen="127.0.0.1:0")
    with pytest.raises(ConfigError, match="--sam needs --sam-encoder"):
        serve(project, listen="127.0.0.1:0", sam=Path("x.onnx"))


def test_a_port_that_is_taken_is_said(served: Served, predicted: Project) -> None:
    with pytest.raises(ConfigError, match="cannot listen: Address already in use"):
        serve(predicted, listen=served.url.removeprefix("http://"))
