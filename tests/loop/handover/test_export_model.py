"""``export model``: what is delivered, used as a stranger would use it, and what is refused."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from made_model import add_made_model
from PIL import Image
from small_job import in_child

import annoloop
from annoloop.cli.main import run
from annoloop.data.config import FILE_NAME, load, render
from annoloop.data.images import IndexImage, encode_index_png, file_sha256, read_index_png, write_atomic
from annoloop.data.mmseg_folders import read_label_map
from annoloop.errors import ConfigError, DataError, LedgerError, MissingExtraError, TrainingError
from annoloop.loop.evaluate import evaluate
from annoloop.loop.handover import delivery, export_model, manifest
from annoloop.loop.handover.export_model import ExportModelReport
from annoloop.loop.handover.model_check import check_model, require_passed
from annoloop.loop.handover.snapshot import snapshot
from annoloop.loop.setup.start import init
from annoloop.metrics.scores import confusion, scores
from annoloop.progress import silent
from annoloop.project.project import Project
from annoloop.selection.scoring import score, unwatched
from annoloop.simulation.made_data import COLORS, NAMES, make_data
from annoloop.training.child import run_job
from annoloop.training.recipes import recipe_path

COUNTS = {"train": 2, "val": 4, "test": 1}
SIZES_HW = ((97, 131), (64, 64), (75, 130), (33, 96))
"""Of the validation images: odd, small, and none like another."""

SCALE = 0.75

STRANGER = """
import runpy, sys
from importlib.util import find_spec
sys.path.insert(0, sys.argv.pop(1))
absent = sys.argv.pop(1).split(",")
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
known = {name.partition(".")[0] for name in sys.modules}
assert not known & {"annoloop", "mmseg", "mmengine"}
assert not [name for name in absent if name in known or find_spec(name) is not None]
"""

OTHER_WEIGHTS = """
import sys, torch
content = torch.load(sys.argv[1], weights_only=True)
content["state_dict"]["decode_head.conv_seg.weight"].neg_()
torch.save(content, sys.argv[1])
print("true")
"""

NEEDED = ("numpy", "numpy.libs", "onnxruntime", "PIL", "pillow.libs", "flatbuffers", "google", "packaging")
"""What a Python has that has installed requirements.txt."""


def new_project(folder: Path) -> None:
    """A project with images of several sizes, and a model that looks twice at three quarters of each."""
    made = make_data(folder, COUNTS, size_hw=SIZES_HW[0])
    for image, size_hw in zip(sorted((made.root / "img_dir" / "val").iterdir()), SIZES_HW, strict=True):
        mask = made.root / "ann_dir" / "val" / f"{image.stem}.png"
        for path in (image, mask):
            picture = np.asarray(Image.open(path))[: size_hw[0], : size_hw[1]]
            Image.fromarray(picture).save(path)
    init(made.root, folder, classes=NAMES, palette=COLORS)
    recipe = folder / "scaled.py"
    text = recipe_path("unet_lite0").read_text(encoding="utf-8")
    recipe.write_text(text.replace("scale = 1.0", f"scale = {SCALE}"), encoding="utf-8")
    file = folder / FILE_NAME
    set_precision(file, "float32")
    with Project(file) as project:
        assert add_made_model(project, recipe=str(recipe)) == 1


def set_precision(file: Path, precision: str) -> None:
    """From now on predictions are made in it, on the CPU; a copy of the project has its own data."""
    config = load(file)
    train = config.train.model_copy(update={"device": "cpu", "precision": precision})
    data = config.data.model_copy(update={"root": Path("data")})
    file.write_text(render(config.model_copy(update={"train": train, "data": data})), encoding="utf-8")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExportModelReport]:
    """A project's folder, and what was exported from it; its val and test splits are evaluated."""
    folder = tmp_path_factory.mktemp("exported") / "project"
    new_project(folder)
    shutil.copytree(folder, folder.with_name("bare"))
    with Project(folder / FILE_NAME) as project:
        evaluate(project, splits=("val", "test"), show=0)
        out = folder / "model"
        report = annoloop.export_model(project, out, license="CC-BY-4.0", author="A <b> & Co. | sons", name="Steel")
    return folder, report


@pytest.fixture
def project(whole: tuple[Path, ExportModelReport], tmp_path: Path) -> Project:
    """A copy of the project, without what was exported."""
    shutil.copytree(whole[0], tmp_path / "project", ignore=shutil.ignore_patterns("model"))
    return Project(tmp_path / "project" / FILE_NAME)


def by_a_stranger(delivered: Path, images: list[Path], out: Path, tmp_path: Path, form: str = "onnx") -> None:
    """Run the script of a delivered folder, copied elsewhere, in a Python that has nothing but what it asks for."""
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(delivered, elsewhere)
    site, absent = Path(np.__file__).parent.parent, ["annoloop"]
    if form == "onnx":
        links, absent = tmp_path / "site", ["annoloop", "mmseg", "torch", "onnx", "cv2", "mmcv"]
        links.mkdir()
        for name in NEEDED:
            if (site / name).exists():
                (links / name).symlink_to(site / name)
        site = links
    script = elsewhere / "predict.py"
    command = [sys.executable, "-I", "-S", "-c", STRANGER, str(site), ",".join(absent), str(script), *map(str, images)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [*command, "--out", str(out)], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(images)


def test_the_service_of_the_docs_answers_as_the_script(whole: tuple[Path, ExportModelReport], tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "service.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    served = tmp_path / "served"
    shutil.copytree(whole[0] / "model", served)
    (served / "service.py").write_text(code, encoding="utf-8")
    image = next((whole[0] / "data" / "img_dir" / "val").iterdir())
    subprocess.run([sys.executable, served / "predict.py", image, "--out", tmp_path / "found"], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (tmp_path / "log").open("wb") as log:
        service = subprocess.Popen([sys.executable, served / "service.py", str(port)], stderr=log)
    try:
        status, answer = posted(port, image.read_bytes())
        assert status == 200
        (expected,) = (tmp_path / "found").iterdir()
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer))), np.asarray(Image.open(expected)))
        assert posted(port, b"no image")[0] == 415
        assert posted(port, b"")[0] == 413
    finally:
        service.kill()
        service.wait()


def posted(port: int, body: bytes) -> tuple[int, bytes]:
    """What the service answers; it needs a moment to load the model."""
    deadline = time.monotonic() + 30
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("POST", "/", body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        finally:
            connection.close()


def dice_of(project: Project, found: dict[str, Path]) -> npt.NDArray[np.float64]:
    """Dice per class and their mean, of predictions by sample."""
    samples = {one.id: one for one in project.samples(["val"])}
    classes, counts = project.classes, 0
    for name, path in found.items():
        mask = samples[name].mask
        assert mask is not None
        truth = read_label_map(mask, project.config.data)
        counts = counts + confusion(truth, read_index_png(path).values, len(classes), classes.ignore_index)
    reached = scores(np.asarray(counts), classes.background_index)
    return np.array([*reached.dice, reached.mean_dice])


def in_a_terminal(project: Project, out: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The folder of a TorchScript, as the command makes it; what lies in its way is respected."""
    where = str(project.path.parent)
    command = ["export", "model", "--format", "torchscript", "--out", str(out), "--project", where, "--check", "2"]
    code = run(command)
    said = capsys.readouterr()
    assert code == 0, said.err
    assert f"wrote {out}: run 1" in said.out
    assert "checked on 2 images: mDice 0." in said.out
    assert f"python '{out}/predict.py' image.png" in said.err
    assert (out / "requirements.txt").read_text().splitlines()[-1].startswith("torch>=")
    with pytest.raises(DataError, match="is there already: export to torchscript, run 1"):
        annoloop.export_model(project, out)
    (out / "mine.txt").write_text("x")
    with pytest.raises(DataError, match=r"files that annoloop did not make: mine\.txt"):
        annoloop.export_model(project, out, force=True)
    (out / "mine.txt").unlink()
    delivery.require_free_folder(out, force=True)
    return out


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
def test_a_stranger_predicts_what_evaluate_scored(
    whole: tuple[Path, ExportModelReport], project: Project, tmp_path: Path, form: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    delivered = whole[1].out if form == "onnx" else in_a_terminal(project, tmp_path / "my model", capsys)
    samples = project.samples(["val"])
    rows = project.scan(samples)
    by_a_stranger(delivered, [Path(str(one.image)) for one in samples], tmp_path / "out", tmp_path, form)
    theirs = {one.id: tmp_path / "out" / f"{Path(one.id).name}.png" for one in samples}
    ours = {one.id: project.prediction_paths(1, rows[one.id].image_sha256)[0] for one in samples}
    assert np.allclose(dice_of(project, theirs), dice_of(project, ours), atol=1e-3, equal_nan=True)
    for name, path in theirs.items():
        mine, his = read_index_png(ours[name]), read_index_png(path)
        assert mine.values.shape == his.values.shape
        assert (mine.values != his.values).mean() < 2e-3
        assert his.palette is not None
        assert his.palette[: 3 * len(NAMES)] == bytes(level for one in project.classes.classes for level in one.rgb)
    assert len(set(np.unique(read_index_png(theirs[samples[0].id]).values))) > 1


def test_the_folder_is_whole_and_its_hashes_hold(whole: tuple[Path, ExportModelReport]) -> None:
    folder, report = whole
    out, made = report.out, manifest.read(report.out / "manifest.json")
    assert sorted(path.name for path in out.iterdir()) == sorted(report.files)
    assert made.files == {one.name: file_sha256(one) for one in out.iterdir() if one.name != "manifest.json"}
    assert (made.made, made.state, made.samples) == ("export to onnx", "run 1", ())
    about = json.loads((out / "model.json").read_text(encoding="utf-8"))
    assert (
        about["checkpoint_sha256"] == file_sha256(folder / ".annoloop/runs/0001/best.pth") == report.checkpoint_sha256
    )
    assert [one["name"] for one in about["classes"]] == list(NAMES)
    assert about["flips"] is True
    assert (about["run"], about["opset"], about["background_index"], about["ignore_index"]) == (1, 17, 0, 255)
    assert about["windows"]["side_px"] == round(1024 / SCALE)
    assert about["windows"]["margin_px"] == round(128 / SCALE)
    assert about["windows"]["whole_px"] == 1 << 21
    assert about["done_in_the_graph"]["resize"]["scale_factor"] == SCALE
    assert about["done_in_the_graph"]["mean"] == [127.0] * 3
    check = report.check
    assert check is not None
    assert check.passed
    assert check.images == len(SIZES_HW)
    assert check.largest <= 1e-3
    assert not list((folder / ".annoloop/runs/0001/export").glob("model.*"))
    assert not list((folder / ".annoloop").glob("scratch/*"))


def test_the_graph_takes_any_size(whole: tuple[Path, ExportModelReport]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(whole[1].out / "model.onnx"), providers=["CPUExecutionProvider"])
    (given,), (answered,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == ("image", "tensor(uint8)", [1, 3, "height", "width"])
    assert answered.shape[1] == len(NAMES)
    rng = np.random.default_rng(0)
    for size_hw in ((160, 224), (1, 1), (31, 257), (256, 255)):
        image = rng.integers(0, 256, (1, 3, *size_hw), dtype=np.uint8)
        found = session.run(None, {"image": image})[0]
        assert found.shape == (1, len(NAMES), *size_hw)
        assert found.dtype == np.float32
        assert np.allclose(found.sum(axis=1), 1, atol=1e-4)


def test_a_large_image_goes_through_the_same_windows(
    whole: tuple[Path, ExportModelReport], project: Project, tmp_path: Path
) -> None:
    small = np.asarray(Image.open(sorted((project.path.parent / "data/img_dir/train").iterdir())[0]))
    side_hw = (1365, 2741)
    large = np.tile(small, (side_hw[0] // small.shape[0] + 1, side_hw[1] // small.shape[1] + 1, 1))
    image = tmp_path / "large.png"
    Image.fromarray(large[: side_hw[0], : side_hw[1]]).save(image)
    assert side_hw[0] * side_hw[1] * SCALE**2 > 1 << 21
    job = project.job(
        "predict", tmp_path / "job", recipe=project.run_config(1), init_checkpoint=project.best_checkpoint(1),
        predictions=((image, tmp_path / "own.png", tmp_path / "own.confidence.png"),),
    )  # fmt: skip
    run_job(job, unwatched)
    subprocess.run([sys.executable, whole[1].out / "predict.py", image, "--out", tmp_path / "out"], check=True)
    own, theirs = (read_index_png(path).values for path in (tmp_path / "own.png", tmp_path / "out/large.png"))
    assert own.shape == theirs.shape == side_hw
    assert (own != theirs).mean() < 1e-3


class _Pages(HTMLParser):
    """Whether tags are closed, and what a page asks for from elsewhere."""

    VOID = ("meta", "link", "img", "br", "input", "hr")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.asked: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.asked += [value or "" for name, value in attrs if name in ("src", "href") and tag != "a"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_card_says_what_it_should(whole: tuple[Path, ExportModelReport]) -> None:
    folder, report = whole
    page, text = (report.out / "model_card.html").read_text(), (report.out / "MODEL_CARD.md").read_text()
    parsed = _Pages()
    parsed.feed(page)
    assert parsed.open == []
    assert parsed.asked == []
    assert not re.search(r"https?://", page + text)
    with Project(folder / FILE_NAME) as project:
        reached = evaluate(project, splits=("val", "test"), show=0)
        digest, verdict = project.classes.digest, project.ledger.run(1).verdict
        taken = snapshot(project, splits=["train"])
    assert str(verdict) in parsed.text
    for card in (parsed.text, text):
        for said in (
            digest,
            report.checkpoint_sha256,
            "CC-BY-4.0",
            "Steel",
            "passed",
            "digest of train",
            taken.content_sha256,
            "Limits",
            "0.001",
        ):
            assert str(said) in card
        for split in ("val", "test"):
            assert f"{split}, {COUNTS[split]} image" in card
            for value in (*reached.splits[split].scores.dice, *reached.splits[split].scores.iou):
                assert ("–" if np.isnan(value) else f"{value:.3f}") in card
    assert "| author | A \\<b\\> & Co. \\| sons |" in text
    assert "A <b> & Co. | sons" in parsed.text
    assert "scaled.py" in parsed.text
    for name in ("train/0000", "train/00000", str(folder / "data")):
        assert name not in page + text


def test_what_nobody_states_is_not_stated(project: Project, tmp_path: Path) -> None:
    from annoloop.loop.handover.model_card import NOT_STATED, Stated, _facts

    about = {"opset": 17, "checkpoint_sha256": "x", "file": "m", "format": "onnx", "exported_with_torch": "2"}
    found = dict(_facts(project.ledger.run(1), None, about, Stated()))
    assert (found["name"], found["author"], found["license"]) == (NOT_STATED,) * 3


def test_a_model_with_other_weights_is_not_delivered(project: Project, tmp_path: Path) -> None:
    """The weights were replaced after the run was scored: what is exported is not what was scored."""
    assert in_child(OTHER_WEIGHTS, str(project.best_checkpoint(1)))
    with pytest.raises(TrainingError, match=r"does not score as run 1: on 4 images class \w+ has Dice 0\.\d+ where"):
        annoloop.export_model(project, tmp_path / "out", run=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["project"]
    assert not list(project.run_dir(1).glob("export/model.*"))


def test_a_run_in_bfloat16_is_held_against_itself_in_float32(
    whole: tuple[Path, ExportModelReport], tmp_path: Path
) -> None:
    shutil.copytree(whole[0].with_name("bare"), tmp_path / "project")
    set_precision(tmp_path / "project" / FILE_NAME, "bfloat16")
    with Project(tmp_path / "project" / FILE_NAME) as project:
        rounded = project.ledger.run(1)
        scored = score(project, rounded, project.samples(["val"]))
        script = whole[1].out / "predict.py"
        check = check_model(project, rounded, script, scored, silent, unwatched, tolerance=1e-5)
        assert check.in_float32
        assert check.largest <= 1e-5
        assert check.rounding is not None
        assert check.rounding > 0
    require_passed(replace(check, rounding=0.01), 1)
    with pytest.raises(
        TrainingError, match=r"run 1 in float32: .*; float32 and bfloat16 differ by 0\.0300; nothing was"
    ):
        require_passed(replace(check, rounding=0.03), 1)


def test_a_dry_run_writes_nothing(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, where = tmp_path / "out", str(project.path.parent)
    assert run(["export", "model", "--out", str(out), "--dry-run", "--project", where, "--check", "3"]) == 0
    said = capsys.readouterr()
    assert f"would write {out}: run 1" in said.out
    assert "checked on 3 images" in said.out
    assert "model.onnx, model.json, predict.py" in said.out
    assert not out.exists()


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"run": 9}, LedgerError, "9"),
        ({"run": 2}, ConfigError, "run 2 is not finished, but running"),
        ({"format": "tflite"}, ConfigError, "is not one of onnx, torchscript"),
        ({"check": 0}, ConfigError, "at least one image"),
    ],
)
def test_what_cannot_be_is_refused(
    project: Project, tmp_path: Path, asked: dict[str, Any], error: type[Exception], said: str
) -> None:
    project.ledger.add_run(kind_digest="x", recipe="unet", parent_id=None, class_digest=project.classes.digest)
    with pytest.raises(error, match=said):
        annoloop.export_model(project, tmp_path / "out", **asked)
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_gone_or_of_other_classes_is_refused(project: Project, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (project.path.parent / "in_the_way").mkdir()
    (project.path.parent / "in_the_way" / "a.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty, and annoloop did not make it"):
        annoloop.export_model(project, project.path.parent / "in_the_way", force=True)
    with pytest.raises(ConfigError, match="where split train has its files"):
        annoloop.export_model(project, project.path.parent / "data/img_dir/train/model")
    project.best_checkpoint(1).rename(tmp_path / "away.pth")
    with pytest.raises(ConfigError, match=r"run 1 has no best\.pth any more"):
        annoloop.export_model(project, out)
    (tmp_path / "away.pth").rename(project.best_checkpoint(1))
    config, left = project.run_config(1), project.run_config(1).read_text()
    config.write_text(left + "\n# changed\n")
    with pytest.raises(ConfigError, match="is not the one that its training left"):
        annoloop.export_model(project, out)
    classes = load(project.path)
    more = [*classes.classes, classes.classes[-1].model_copy(update={"name": "crack", "color": "#123456"})]
    project.path.write_text(render(classes.model_copy(update={"classes": more})), encoding="utf-8")
    with Project(project.path) as other:
        for asked in (None, 1):
            with pytest.raises(ConfigError, match=r"run 1 was trained on other classes \(crack is new\)"):
                annoloop.export_model(other, out, run=asked)


def test_without_masks_to_check_with_nothing_is_done(project: Project, tmp_path: Path) -> None:
    for one in project.samples(["val"]):
        assert isinstance(one.mask, Path)
        one.mask.unlink()
    with pytest.raises(DataError, match="no image of val has a mask"):
        annoloop.export_model(project, tmp_path / "out")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_extra_is_named_before_anything_is_done(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = export_model.find_spec
    monkeypatch.setattr(export_model, "find_spec", lambda name: None if name == package else found(name))
    with pytest.raises(MissingExtraError, match=f"{package} is not installed") as caught:
        annoloop.export_model(project, tmp_path / "out")
    assert caught.value.extra == "export"
    assert run(["export", "model", "--out", str(tmp_path / "out"), "--project", str(tmp_path / "nowhere")]) == 8
    assert f"{package} is not installed" in capsys.readouterr().err


def test_the_script_refuses_what_would_lose_something(whole: tuple[Path, ExportModelReport], tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.png", encode_index_png(IndexImage(np.zeros((9, 9), np.uint8))))
    (tmp_path / "b").mkdir()
    shutil.copyfile(tmp_path / "a.png", tmp_path / "b" / "a.png")
    (tmp_path / "c.png").write_text("no image")
    told = {
        ("a.png", "--out", "."): "its prediction would take its place",
        ("a.png", "b/a.png", "--out", "out"): "two images have the same name",
        ("c.png", "--out", "out"): "c.png: cannot be read as an image",
    }
    for arguments, said in told.items():
        command = [sys.executable, whole[1].out / "predict.py", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr
