"""The command line: help, exit codes, errors that teach, JSON."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from running_loop import add_model, make_project

from annoloop import errors
from annoloop.cli.demo import Server
from annoloop.cli.doctor import TESTED
from annoloop.cli.main import commands, run
from annoloop.data.config import FILE_NAME
from annoloop.project.project import Project
from annoloop.training.records import Event

ROOT = Path(__file__).parents[2]


def every_command() -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in commands.commands.items():
        if isinstance(command, click.Group):
            found |= {f"{name} {below}": one for below, one in command.commands.items()}
            if not command.invoke_without_command:
                continue
        found[name] = command
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_project(tmp_path, "http://127.0.0.1:9", name="cli-test")
    return tmp_path


@pytest.mark.parametrize("name", every_command())
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example:" in shown
    assert f"annoloop {name}" in shown


@pytest.mark.parametrize("name", sorted(set(every_command()) - {"sandbox", "help"}))
def test_every_command_takes_the_common_options(name: str) -> None:
    options = {option for p in every_command()[name].params for option in p.opts}
    assert {"--project", "--json", "--verbose", "--quiet", "--debug"} <= options


def test_the_tested_versions_are_those_of_the_constraints_file() -> None:
    pinned = dict(
        line.split("==") for line in (ROOT / "scripts" / "constraints.txt").read_text().splitlines() if "==" in line
    )
    by_name = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    assert {name: by_name[name] for name in TESTED} == TESTED


def test_no_project_is_exit_code_3_with_a_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--project", str(tmp_path)]) == 3
    said = capsys.readouterr().err
    assert "no annoloop.yaml" in said
    assert "annoloop init" in said


@pytest.mark.parametrize("given", [[], ["--worst", "3", "--image", "train/0001"]])
def test_wrong_usage_is_exit_code_2(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["push", *given]) == 2
    assert "either --worst N or --image NAME" in capsys.readouterr().err


def test_images_by_name_and_a_page_of_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make_project(tmp_path, "http://127.0.0.1:9", name="by-name")
    with Project(tmp_path / FILE_NAME) as project:
        add_model(project, made.truth)
    options = ["--project", str(tmp_path), "--json"]
    assert run(["push", *options, "--dry-run", "--image", "train/0001", "--image", "val/0002"]) == 0
    pushed = json.loads(capsys.readouterr().out)
    assert {frame["sample_id"] for frame in pushed["frames"]} == {"train/0001", "val/0002"}
    assert run(["browse", *options, "--export", str(tmp_path / "pages")]) == 0
    exported = json.loads(capsys.readouterr().out)
    assert (exported["samples"], exported["scored"]) == (11, 2), (
        "only what was pushed has been compared with its labels"
    )
    assert Path(exported["page"]).is_file()


def test_a_fault_in_the_configuration_names_file_and_key(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "annoloop.yaml"
    file.write_text(file.read_text().replace("segment_size:", "segmentsize:").replace("seed: 0", "seed: yes please"))
    assert run(["status", "--project", str(folder)]) == 3
    said = capsys.readouterr().err
    assert str(file) in said
    assert "2 faults" in said
    assert "cvat.segmentsize: unknown key; did you mean 'segment_size'?" in said
    assert "train.seed" in said


def test_an_error_as_json_is_one_object_on_stdout(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "--project", str(folder), "--json"]) == 3
    fault = json.loads(capsys.readouterr().out)["error"]
    assert (fault["exit_code"], fault["hint"]) == (3, "annoloop retrain")


def test_no_credentials_say_how_to_give_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("CVAT_ACCESS_TOKEN", "CVAT_USERNAME", "CVAT_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    assert run(["pull", "--project", str(folder)]) == 3
    assert "CVAT_ACCESS_TOKEN" in capsys.readouterr().err


def test_a_wrong_token_is_exit_code_6_and_never_shown(
    tmp_path: Path, sandbox: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_project(tmp_path, sandbox.url, name="wrong-token")
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", "s3cret-token")
    assert run(["pull", "--project", str(tmp_path)]) == 6
    shown = capsys.readouterr()
    assert "401" in shown.err
    assert "s3cret" not in shown.out + shown.err


def test_an_interrupt_that_compiled_code_made_an_error_of_is_one_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> None:
        raise SystemError("returned a result with an exception set") from KeyboardInterrupt()

    monkeypatch.setattr("annoloop.loop.status.status", interrupted)
    assert run(["status", "--project", str(folder)]) == 130
    assert "bug" not in capsys.readouterr().err


def test_a_bug_shows_no_traceback_unless_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("annoloop.loop.status.status", broken)
    assert run(["status", "--project", str(folder)]) == 70
    said = capsys.readouterr().err
    assert "oops" in said
    assert "Traceback" not in said
    with pytest.raises(ZeroDivisionError):
        run(["status", "--project", str(folder), "--debug"])


def test_status_and_log_of_a_new_project_point_to_the_first_training(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status", "--project", str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["next_command"] == "annoloop retrain"
    assert report["labelled"] == {"train": 8, "val": 3}
    assert run(["log", "--project", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_doctor_names_every_faulty_file_and_ends_with_9(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    monkeypatch.setenv("CVAT_ACCESS_TOKEN", "s3cret-token")
    masks = sorted((folder / "data" / "ann_dir" / "train").glob("*.png"))
    masks[0].write_bytes(masks[0].read_bytes()[:60])
    Image.new("RGB", (64, 48), "red").save(masks[1])
    Image.new("L", (60, 48)).save(masks[2])
    Image.new("L", (64, 48), 9).save(masks[3])
    masks[4].unlink()
    (folder / "data" / "ann_dir" / "train" / "stray.png").write_bytes(masks[5].read_bytes())
    assert run(["doctor", "--project", str(folder), "--no-measure", "--json"]) == 9
    out = capsys.readouterr().out
    checks = json.loads(out)["checks"]
    faults = {check["name"]: check["found"] for check in checks if check["state"] == "fault"}
    found = " ".join(check["found"] for check in checks if check["state"] == "fault")
    for mask in (*masks[:4], masks[4], folder / "data" / "ann_dir" / "train" / "stray.png"):
        assert str(mask) in found
    for words in ("mode RGB", "60 x 48 px", "index out of range: 9", "no mask", "no image in split"):
        assert words in found
    assert "data" in faults
    cvat = next(check for check in checks if check["name"] == "CVAT")
    assert (cvat["state"], "cannot be reached" in cvat["found"]) == ("warning", True)
    assert "s3cret" not in out


def test_two_commands_at_once_the_second_is_told_who_works(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        assert run(["undo", "--project", str(folder)]) == 5
        assert f"retrain, pid {holder.pid}" in capsys.readouterr().err
    finally:
        holder.communicate("")
    assert run(["undo", "--project", str(folder)]) == 5
    assert "no pull to undo" in capsys.readouterr().err


HOLD = """
import sys
from pathlib import Path
from annoloop.project.project import open_project
with open_project(Path(sys.argv[1])) as project, project.locked("retrain"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_convert_there_and_back_through_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = folder / "all.json"
    assert run(["convert", "to-coco", "--project", str(folder), "--out", str(coco), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 11
    assert run(["convert", "from-coco", str(coco), "--project", str(folder), "--out", str(folder / "back")]) == 0
    for mask in (folder / "data" / "ann_dir").rglob("*.png"):
        copy = folder / "back" / mask.relative_to(folder / "data" / "ann_dir")
        assert copy.read_bytes() == mask.read_bytes()


def test_output_into_a_closed_pipe_shows_no_traceback(folder: Path) -> None:
    command = f"{sys.executable} -m annoloop log --project {folder} --json | true"
    assert subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stderr == ""


@pytest.mark.parametrize(
    ("line", "guess"),
    [
        (["push", "--worst", "3", "--by", "clas:disc", "--dry-run"], "class:disc"),
        (["retrain", "--recipe", "unet_smal"], "unet_small"),
        (["eda", "--split", "vall"], "val"),
        (["statsu"], "status"),
    ],
)
def test_a_typo_is_answered_with_what_was_meant(
    folder: Path, line: list[str], guess: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run([*line, *(["--project", str(folder)] if len(line) > 1 else [])])
    assert f"id you mean '{guess}'?" in capsys.readouterr().err


def test_common_options_may_stand_before_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--json", "--project", str(folder), "status"]) == 0
    assert json.loads(capsys.readouterr().out)["project"]


def test_the_help_has_every_command_once_and_cuts_no_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(commands.list_commands(click.Context(commands))) == set(commands.commands)
    assert run(["help"]) == 0
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert "..." not in shown.replace("[ARGS]...", "")
    assert run(["help", "convert", "to-coco"]) == 0
    assert "--min-region-px" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("line", [["status"], ["--json", "log"], ["--help"]])
def test_no_room_for_what_is_printed_is_no_bug(folder: Path, line: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        child = subprocess.run(
            [sys.executable, "-m", "annoloop", *line], stdout=full, stderr=subprocess.PIPE, text=True, cwd=folder
        )
    assert child.returncode == 74, child.stderr
    assert "no room left" in child.stderr
    assert "Traceback" not in child.stderr
    assert "Exception ignored" not in child.stderr


def test_outside_a_project_doctor_checks_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["doctor", "--json"]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert {"Python", "torch", "disk", "MongoDB", "project"} <= set(checks)
    assert "annoloop init" in checks["project"]["hint"]
    assert run(["doctor", "--project", str(tmp_path)]) == 3, "one that was named has to be there"


@pytest.mark.parametrize("line", [["demo", "--dir", "made"], ["retrain"]])
def test_a_missing_extra_is_told_before_anything_is_written(
    line: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mmseg" else find_spec(name))
    monkeypatch.chdir(tmp_path)
    assert run(line) == 8
    assert "mmseg is not installed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_installs_an_extra_is_named_as_annoloop_was_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {
        '{"url": "file:///home/me/annoloop", "dir_info": {"editable": true}}': "pip install '/home/me/annoloop[app]'",
        '{"url": "https://host/a.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}': (
            "pip install 'annoloop[app] @ git+https://host/a.git@abc'"
        ),
        '{"url": "https://host/a.whl", "archive_info": {}}': "pip install 'annoloop[app] @ https://host/a.whl'",
        "": "pip install '.[app]' in a clone of annoloop",
    }
    for direct_url, command in told.items():
        found = type("Found", (), {"read_text": lambda _, name, text=direct_url: text or None})()
        monkeypatch.setattr(errors.metadata, "distribution", lambda _, found=found: found)
        assert errors.install_command("app") == command


def test_status_says_that_a_training_is_at_work(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Project(folder / FILE_NAME) as project, project.locked("retrain"):
        number = project.ledger.add_run(kind_digest="x", recipe="unet_tiny", parent_id=None, class_digest="y")
        project.run_dir(number).mkdir(parents=True)
        lines = [Event("started", {"iterations": 50}), Event("iteration", {"iteration": 12, "loss": 1.0})]
        (project.run_dir(number) / "events.jsonl").write_text("".join(line.to_json() + "\n" for line in lines))
        assert run(["status", "--project", str(folder)]) == 0
        shown = capsys.readouterr()
        assert f"run {number} is at iteration 12 of 50" in shown.out
        assert "retrain, pid" in shown.err
    assert run(["status", "--project", str(folder)]) == 0
    assert "was cut off" in capsys.readouterr().err
