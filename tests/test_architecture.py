"""What import-linter cannot say: where each package has its home, how long code may be, and that help loads nothing.

Which room may import which stands in pyproject.toml; one test here holds the code against it.
"""

from __future__ import annotations

import ast
import json
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

import annoloop
from annoloop.cli.screen import _VIEWS, _snake

PACKAGE = Path(annoloop.__file__).parent
ROOT = PACKAGE.parent

HOMES = {
    "torch": ("training/mmseg/",),
    "mmseg": ("training/mmseg/",),
    "mmengine": ("training/mmseg/",),
    "mmcv": ("training/mmseg/",),
    "fiftyone": ("app/fiftyone_app.py", "app/plugin/"),
    "ray": ("compute/ray_cluster.py",),
    "fsspec": ("data/storage.py",),
    "cvat_sdk": ("cvat/session.py", "serving/cvat_function.py"),
    "matplotlib": ("reports/plots.py",),
    "jinja2": ("reports/page.py",),
    "pydantic": ("data/config.py", "data/data_section.py", "data/train_section.py"),
    "yaml": ("data/config.py", "data/formats/yolo_folders.py"),
    "click": ("cli/main.py", "cli/options.py", "cli/groups.py", "cli/*_commands.py"),
    "shapely": ("masks/polygons.py",),
    "rich": ("cli/screen.py", "cli/training_view.py", "cli/views/"),
    "sqlite3": ("project/database.py", "sandbox/"),
    "numba": ("masks/kernels/",),
    "kornia_rs": ("data/png.py",),
    "pycocotools": ("masks/regions.py",),
    "starlette": ("sandbox/", "serving/application.py", "watching/webhook.py"),
    "hypercorn": ("sandbox/", "serving/http_thread.py"),
    "onnx": ("training/mmseg/exporting.py",),
    "onnxruntime": ("serving/sam.py", "training/mmseg/exporting.py", "training/mmseg/standalone.py"),
    "rasterio": ("data/geotiff.py",),
    "cv2": ("data/videos.py",),
    "mlflow": ("tracking/mlflow_runs.py",),
    "tensorboardX": ("tracking/tensorboard_files.py",),
    "wandb": ("tracking/wandb_runs.py",),
}
"""The only files that may import a package; a name that ends in a slash stands for all files below that folder."""

HEAVY = (
    "torch",
    "mmseg",
    "mmengine",
    "mmcv",
    "fiftyone",
    "ray",
    "cvat_sdk",
    "matplotlib",
    "pycocotools",
    "shapely",
    "numba",
    "kornia_rs",
    "fsspec",
    "mlflow",
    "tensorboardX",
    "wandb",
)

MOST_MODULE_LINES = 400
MOST_FUNCTION_LINES = 60


@dataclass(frozen=True)
class Import:
    """One import statement's target by its dotted name."""

    name: str
    line: int
    at_top: bool

    @property
    def package(self) -> str:
        return self.name.split(".")[0]


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def _imports(path: Path) -> tuple[Import, ...]:
    tree = _tree(path)
    inside = {id(node) for function in _functions(tree) for node in ast.walk(function)}
    return tuple(
        Import(name, node.lineno, id(node) not in inside)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in _imported_names(node)
    )


def _imported_names(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif node.level == 0:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def _is_home(place: str, homes: tuple[str, ...]) -> bool:
    return any(place.startswith(home) if home.endswith("/") else fnmatch(place, home) for home in homes)


every_module = pytest.mark.parametrize("path", _modules(), ids=_place)


def test_rooms_import_only_from_rooms_below_them() -> None:
    found = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], capture_output=True, text=True, cwd=ROOT
    )
    assert found.returncode == 0, found.stdout


def test_the_wheel_takes_every_package() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {".".join(("annoloop", *path.parent.relative_to(PACKAGE).parts)) for path in PACKAGE.rglob("__init__.py")}
    assert set(listed) == there | {"annoloop.configs"}


@pytest.mark.parametrize("package", HOMES)
def test_a_package_has_one_home(package: str) -> None:
    users = {_place(path) for path in _modules() for one in _imports(path) if one.package == package}
    assert users
    assert not [place for place in users if not _is_home(place, HOMES[package])]


@every_module
def test_heavy_packages_are_imported_inside_functions(path: Path) -> None:
    place, at_top = _place(path), [one for one in _imports(path) if one.at_top]
    if place.startswith(("training/mmseg/", "app/plugin/", "mmseg_")):  # processes of their own, and what only they use
        return
    assert not [one for one in at_top if one.package in HEAVY and not place.startswith("masks/kernels/")]
    if not place.startswith("masks/kernels/"):
        assert not [one for one in at_top if one.name.startswith("annoloop.masks.kernels")]


@every_module
def test_modules_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_MODULE_LINES
    for function in _functions(_tree(path)):
        lines = (function.end_lineno or 0) - function.lineno + 1
        assert lines <= MOST_FUNCTION_LINES, f"{path.name}:{function.lineno} {function.name} has {lines} lines"


@every_module
def test_a_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(_tree(path))


def test_imports_are_found_wherever_they_stand(tmp_path: Path) -> None:
    bad = tmp_path / "masks.py"
    bad.write_text("import torch.nn\ndef f():\n    from annoloop.masks import kernels\n")
    assert _imports(bad) == (Import("torch.nn", 1, True), Import("annoloop.masks.kernels", 3, False))
    assert not _is_home("data/png.py", HOMES["torch"])
    assert _is_home("training/mmseg/ranks.py", HOMES["torch"])


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import json, sys\nfrom annoloop.cli.main import run\nassert run(['--help']) == 0\n"
        "sys.stderr.write(json.dumps(sorted(sys.modules)))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(json.loads(child.stderr))
    assert "click" in loaded
    assert not loaded & {*HEAVY, "numpy", "pydantic", "yaml", "rich", "sqlite3", "PIL", "starlette", "jinja2"}


def test_the_screen_knows_every_report_of_an_operation_by_its_name() -> None:
    operations = [*(PACKAGE / "loop").glob("*.py"), PACKAGE / "eda" / "eda.py", PACKAGE / "app" / "browse.py"]
    reports = {
        node.name
        for path in operations
        for node in _tree(path).body
        if isinstance(node, ast.ClassDef) and node.name.endswith("Report") and node.name != "SplitReport"
    }
    assert len(reports) > 10
    known = {function.name for path in (PACKAGE / "cli" / "views").glob("*.py") for function in _functions(_tree(path))}
    assert {_snake(name) for name in reports} <= known


def test_every_view_that_the_screen_names_is_there() -> None:
    for family, names in _VIEWS.items():
        views = {function.name for function in _functions(_tree(PACKAGE / "cli" / "views" / f"{family}.py"))}
        assert set(names) <= views


def test_help_answers_at_once() -> None:
    command = [sys.executable, "-c", "from annoloop.cli.main import main; main(['--help'])"]
    times = []
    for _ in range(5):
        began = time.perf_counter()
        child = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        times.append(time.perf_counter() - began)
        assert "retrain" in child.stdout
    assert min(times) < 0.3


@pytest.mark.parametrize("address", [("example.org", 80), ("192.0.2.1", 80)])
def test_tests_cannot_leave_this_machine(address: tuple[str, int]) -> None:
    with pytest.raises(OSError, match="tests stay on this machine"):
        socket.create_connection(address, timeout=1)
