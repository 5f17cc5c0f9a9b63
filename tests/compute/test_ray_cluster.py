"""Work on a real Ray cluster of this machine: the same results, errors as they were raised, and clear failures."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ray_head import CORES, IMPORTED_FROM, needs_ray, ray_head
from running_loop import COUNTS, add_model, make_project

from annoloop.cli.main import run
from annoloop.compute.workers import on_ray, processes, spread
from annoloop.data.config import FILE_NAME
from annoloop.errors import AnnoloopError, ConfigError, DataError, install_command
from annoloop.project.project import Project
from annoloop.selection.scoring import score

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def cluster(ray_address: str, tmp_path: Path, spread_early: None) -> Iterator[None]:
    """Work goes to the cluster, after two items."""
    with on_ray(ray_address, tmp_path):
        yield


# what spread promises, on a cluster


def square_and_pid(number: int) -> tuple[int, int]:
    if number == 450:
        raise DataError("is odd", where=Path("masks/450.png"), hint="mend it")
    return number * number, os.getpid()


def ones(side: int) -> np.ndarray:
    return np.ones((side, side), np.uint8)


def trace(number: int, folder: Path, seconds: float = 0.0) -> int:
    time.sleep(seconds)
    (folder / str(number)).touch()
    return number


def die_once(number: int, folder: Path) -> int:
    if number == 100 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die(number: int) -> None:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)


def test_results_come_in_order_from_the_cluster_and_errors_as_they_were_raised(cluster: None) -> None:
    results = list(spread(square_and_pid, range(400)))
    assert [square for square, _ in results] == [n * n for n in range(400)]
    assert os.getpid() not in {pid for _, pid in results[2:]}
    with pytest.raises(DataError, match=r"masks/450.png: is odd\n  hint: mend it"):
        list(spread(square_and_pid, range(500)))


def test_what_is_soon_done_stays_here(ray_address: str) -> None:
    with on_ray(ray_address, None):
        assert {pid for _, pid in spread(square_and_pid, range(400))} == {os.getpid()}


def test_a_cluster_is_left_at_the_end(ray_address: str, tmp_path: Path, spread_early: None) -> None:
    with on_ray(ray_address, tmp_path):
        pass
    with processes(1):
        assert {pid for _, pid in spread(square_and_pid, range(400))} == {os.getpid()}


def test_arrays_can_be_written_to_as_those_of_a_process_here(cluster: None) -> None:
    for side, array in zip([300] * 40, spread(ones, [300] * 40), strict=True):
        array += 1
        assert array.sum() == 2 * side * side


def test_what_is_not_taken_is_not_computed_far_ahead(cluster: None, tmp_path: Path) -> None:
    results = spread(partial(trace, folder=tmp_path), range(3000))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(list(tmp_path.iterdir())) < 1000


def test_a_lost_process_is_replaced_without_a_word_among_the_results(
    cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(spread(partial(die_once, folder=tmp_path), range(200))) == list(range(200))
    assert (tmp_path / "died").exists()
    time.sleep(1)  # Ray speaks from a thread of its own
    assert capsys.readouterr().out == ""


def test_a_process_that_is_lost_again_and_again_is_an_error(cluster: None) -> None:
    with pytest.raises(AnnoloopError, match="lost a part of the work again and again"):
        list(spread(die, range(40)))


def test_an_interrupt_ends_the_work_on_the_cluster(cluster: None, tmp_path: Path) -> None:
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 4)
    with pytest.raises(KeyboardInterrupt):
        list(spread(partial(trace, folder=tmp_path, seconds=0.1), range(1000)))
    time.sleep(2.5)  # what one process has begun
    done = len(list(tmp_path.iterdir()))
    time.sleep(1)
    assert 0 < done < 500
    assert len(list(tmp_path.iterdir())) == done, "something is still at work"


# commands


def test_commands_on_a_cluster_write_what_they_write_here(
    ray_address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], spread_early: None
) -> None:
    make_project(tmp_path, "http://127.0.0.1:9", name="clustered", counts={**COUNTS, "train": 70})
    given, told = ["--project", str(tmp_path)], []
    for where in ([], ["--ray", ray_address]):
        out = tmp_path / ("there" if where else "here")
        assert run(["convert", "to-coco", *given, "--out", f"{out}.json", *where]) == 0
        assert run(["convert", "from-coco", f"{out}.json", *given, "--out", str(out), *where]) == 0
        capsys.readouterr()
        assert run(["eda", *given, "--out", str(tmp_path / "eda.html"), "--json", *where]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    assert (tmp_path / "here.json").read_bytes() == (tmp_path / "there.json").read_bytes()
    names = sorted(path.relative_to(tmp_path / "here") for path in (tmp_path / "here").rglob("*.png"))
    assert len(names) == 70 + COUNTS["val"]
    for name in names:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


def test_scores_are_those_of_this_machine(ray_address: str, tmp_path: Path, spread_early: None) -> None:
    made = make_project(tmp_path, "http://127.0.0.1:9", name="scored", counts={"train": 70, "val": 1})
    with Project(tmp_path / FILE_NAME) as project:
        runs = [project.ledger.run(add_model(project, made.truth)) for _ in range(2)]
        here = score(project, runs[0], project.samples())
        with on_ray(ray_address, tmp_path):
            there = score(project, runs[1], project.samples())
    assert [one.score.dice for one in here] == [one.score.dice for one in there]
    assert all(np.array_equal(a.score.confusion, b.score.confusion) for a, b in zip(here, there, strict=True))


# clusters that are of no use


@needs_ray
@pytest.mark.parametrize("silent", [False, True], ids=["nobody listens", "somebody else listens"])
def test_an_address_without_a_cluster_is_an_error_within_seconds(
    silent: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_project(tmp_path, "http://127.0.0.1:9", name="alone")
    with socket.create_server(("127.0.0.1", 0)) as other:
        place = f"127.0.0.1:{other.getsockname()[1]}"
        if not silent:
            other.close()
        began = time.monotonic()
        assert run(["eda", "--project", str(tmp_path), "--ray", place]) == 3
    assert time.monotonic() - began < 10
    told = capsys.readouterr().err
    assert f"{place}: no Ray cluster answers there" in told
    assert "ray start --head" in told


@needs_ray
@pytest.mark.parametrize("given", ["here", "here:there", ":6379"])
def test_what_is_no_address_is_an_error(given: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no address of a Ray cluster"), on_ray(given, tmp_path):
        pass


@needs_ray
def test_auto_is_the_cluster_of_this_machine(ray_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(ConfigError, match="no Ray cluster was begun on this machine"), on_ray("auto", tmp_path):
        pass
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(ray_address)
    with on_ray("auto", tmp_path) as cluster:
        assert cluster.cores == CORES


def test_a_cluster_that_does_not_let_us_in_is_an_error_within_seconds(ray_address: str, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from annoloop.compute.workers import on_ray\n"
    code += "with on_ray(sys.argv[1], Path(sys.argv[2])): pass"
    stranger = {**os.environ, "RAY_AUTH_TOKEN": "0" * 64}
    command = [sys.executable, "-c", code, ray_address, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20, env=stranger)
    assert "does not let us in" in done.stderr
    assert "Authentication token is missing or incorrect" in done.stderr


def test_a_machine_that_does_not_see_the_folder_is_named(
    ray_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = Path("/proc/self/cwd")  # for every process another folder
    with (
        pytest.raises(ConfigError, match=f"machine {socket.gethostname()}: does not see"),
        on_ray(ray_address, elsewhere),
    ):
        pass


@needs_ray
def test_a_machine_with_another_annoloop_is_named(
    tmp_path: Path, ray_token: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # Ray adds our working folder to its processes' path
    package = tmp_path / "other" / "annoloop"
    package.mkdir(parents=True)
    with ray_head(package.parent) as (address, _):
        for module, told in (("__version__ = '0.0.9'", "has annoloop 0.0.9"), ("raise ImportError", "has no annoloop")):
            (package / "__init__.py").write_text(module)
            with pytest.raises(ConfigError, match=told), on_ray(address, tmp_path):
                pass


LOSE = """
import os, signal, sys
from pathlib import Path
from test_ray_cluster import trace
from functools import partial
from annoloop.compute.workers import on_ray, spread
address, head, folder, early = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4] == "before"
with on_ray(address, folder):
    results = spread(partial(trace, folder=folder, seconds=0.02), range(2000))
    for _ in range(1 if early else 100):
        next(results)
    os.killpg(head, signal.SIGKILL)
    list(results)
"""


@needs_ray
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cluster_that_is_lost_before_or_after_it_has_work_is_an_error(
    when: str, tmp_path: Path, ray_token: None
) -> None:
    with ray_head(*IMPORTED_FROM) as (address, head):
        command = [sys.executable, "-c", LOSE, address, str(head), str(tmp_path), when]
        path = os.pathsep.join(map(str, IMPORTED_FROM))
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "PYTHONPATH": path}
        )
    assert "AnnoloopError" in done.stderr
    assert "the Ray cluster is gone" in done.stderr


def test_ray_that_is_not_installed_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_project(tmp_path, "http://127.0.0.1:9", name="without")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run(["eda", "--project", str(tmp_path), "--ray", "auto"]) == 8
    assert install_command("ray") in capsys.readouterr().err
