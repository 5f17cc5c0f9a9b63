"""The table of levels, read from the imports: what may import what, and where each package has its home."""

from __future__ import annotations

import ast
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import annoloop

PACKAGE = Path(annoloop.__file__).parent
ROOT = PACKAGE.parent

# A module imports strictly lower levels; a level is what its modules may build on.
LEVELS = {
    0: ("__init__", "errors", "progress", "kernels"),  # words for what happens, everyone's; and bare loops
    1: (
        "classes", "coco_counts", "credentials", "masks", "metrics", "selection", "durations", "looks", "launch",
        "mmseg_losses", "mmseg_pretrained", "mmseg_ranks", "neighbourhood", "ray_cluster", "storage", "png", "jpeg",
    ),  # values, numbers and places, no files of ours
    2: (
        "images", "runs", "config", "cvat_wire", "polygons", "mistakes", "guide", "archive", "damage",
        "label_quality", "plots", "page", "workers", "database", "boundary", "calibration", "mask_facts",
        "folders", "plain",
    ),  # formats: bytes, JSON, YAML, Markdown to values and back
    3: (
        "coco", "dataset", "fetching", "made_data", "schema", "training", "gallery", "mmseg_checkpoint", "shapes",
        "cvat_session", "examination", "findings",
    ),  # one kind of thing on disk or on the wire
    4: (
        "journal", "coco_file", "cvat", "fiftyone_app", "context", "training_view", "mmseg_parts", "mmseg_data",
        "mmseg_device", "diagnosis", "project_files", "sample_facts", "scan", "shards",
        "warm",
    ),  # one outside system each, or many files
    5: ("ledger", "packed_facts"),  # the other half of what the journal, or a look at a sample, begins
    6: (
        "project", "mmseg_recipe", "mmseg_keeping", "fiftyone_dataset", "error_charts", "error_galleries",
        "error_verdict", "tally",
    ),  # opened together: a project here, a training there
    7: (
        "scoring", "twins", "delivery", "corrections", "mmseg_budget", "mmseg_predict", "criteria", "planning",
        "folds", "beliefs", "census", "app_masks", "error_report", "oddities",
        "known_facts",
    ),  # what several operations need, or half of one
    8: ("choosing", "static_gallery"),  # the larger half of an operation
    9: (
        "push", "pull", "retrain", "evaluate", "convert", "init", "browse", "doctor", "status", "log", "undo",
        "annotate", "tasks", "login", "mmseg_worker", "eda",
    ),  # one operation each
    10: ("demo", "data_view", "eda_page"),  # all operations, run; or what becomes of a report
    11: ("console",),  # all reports, shown
    12: ("options",),  # what every command begins with: its options, a screen, an open project
    13: ("cli_cvat",),  # the commands that talk to CVAT
    14: ("cli",),  # the only one that knows everything
}  # fmt: skip

LEVEL_OF = {module: level for level, modules in LEVELS.items() for module in modules}

EVERYONE_MAY_IMPORT = {"__init__", "errors", "progress"}

HIGHEST_LEVEL_OF_SANDBOX = 2

MMSEG = {module for modules in LEVELS.values() for module in modules if module.startswith("mmseg_")}

HOMES = {
    "torch": MMSEG,
    "mmseg": MMSEG,
    "mmengine": MMSEG,
    "mmcv": MMSEG,
    "fiftyone": {"fiftyone_app"},
    "ray": {"ray_cluster"},
    "fsspec": {"storage"},
    "cvat_sdk": {"cvat_session"},
    "matplotlib": {"plots"},
    "jinja2": {"page"},
    "pydantic": {"config"},
    "yaml": {"config"},
    "click": {"cli", "cli_cvat", "options"},
    "shapely": {"polygons"},
    "rich": {"console", "training_view", "data_view"},
    "sqlite3": {"database", "sandbox"},
    "numba": {"kernels"},
    "kornia_rs": {"png"},
    "pycocotools": {"masks"},
    "starlette": {"sandbox"},
    "hypercorn": {"sandbox"},
}

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
)

MOST_MODULE_LINES = 400
MOST_FUNCTION_LINES = 60


@dataclass(frozen=True)
class Import:
    """One import statement's target: ``package`` is its first name, ``module`` ours below annoloop."""

    package: str
    module: str | None
    line: int
    at_top: bool


def _modules() -> list[Path]:
    return sorted(p for p in PACKAGE.glob("*.py") if p.stem != "__main__")


def _sandbox_modules() -> list[Path]:
    return sorted((PACKAGE / "sandbox").glob("*.py"))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def _imports(path: Path) -> tuple[Import, ...]:
    tree = _tree(path)
    inside = {id(node) for function in _functions(tree) for node in ast.walk(function)}
    return tuple(
        Import(name.split(".")[0], _our_module(name), node.lineno, id(node) not in inside)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in _imported_names(node)
    )


def _imported_names(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Dotted names; ``from annoloop import coco`` counts as annoloop.data.coco."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    assert node.level == 0, f"line {node.lineno}: imports are absolute"
    if node.module == "annoloop":
        yield from (f"annoloop.{alias.name}" for alias in node.names)
    else:
        yield node.module or ""


def _our_module(name: str) -> str | None:
    """The module below annoloop; what is no module of its own stands in ``__init__``."""
    parts = name.split(".")
    if parts[0] != "annoloop":
        return None
    known = len(parts) > 1 and (parts[1] in LEVEL_OF or parts[1] in ("sandbox", "plugin"))
    return parts[1] if known else "__init__"


def _functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def _home(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _all_modules() -> list[Path]:
    return [*_modules(), *_sandbox_modules()]


def test_every_module_has_a_level_and_every_level_its_modules() -> None:
    assert {p.stem for p in _modules()} == set(LEVEL_OF)


@pytest.mark.parametrize("path", _modules(), ids=lambda p: p.stem)
def test_a_module_imports_lower_levels_only(path: Path) -> None:
    breaches = [
        f"{path.name}:{one.line} imports {one.module} (level {LEVEL_OF[one.module]})"
        for one in _imports(path)
        if one.module in LEVEL_OF
        and one.module not in EVERYONE_MAY_IMPORT
        and LEVEL_OF[one.module] >= LEVEL_OF[path.stem]
    ]
    assert not breaches, f"level {LEVEL_OF[path.stem]} may import lower levels only"


@pytest.mark.parametrize("path", _sandbox_modules(), ids=lambda p: p.stem)
def test_the_sandbox_is_a_server_of_its_own(path: Path) -> None:
    for one in _imports(path):
        assert one.module in (None, "sandbox") or LEVEL_OF[one.module] <= HIGHEST_LEVEL_OF_SANDBOX, one


def test_only_demo_and_cli_import_the_sandbox() -> None:
    users = {path.stem for path in _modules() for one in _imports(path) if one.module == "sandbox"}
    assert users <= {"demo", "cli_cvat"}


@pytest.mark.parametrize("package", HOMES)
def test_a_package_has_one_home(package: str) -> None:
    users = {_home(path) for path in _all_modules() for one in _imports(path) if one.package == package}
    assert users <= HOMES[package]


@pytest.mark.parametrize("path", _all_modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_inside_functions(path: Path) -> None:
    assert not [one for one in _imports(path) if one.module == "kernels" and one.at_top]
    if path.stem in MMSEG or path.stem == "kernels":  # a process of its own; imported inside functions itself
        return
    assert not [one for one in _imports(path) if one.package in HEAVY and one.at_top]


@pytest.mark.parametrize("path", _all_modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_MODULE_LINES
    for function in _functions(_tree(path)):
        lines = (function.end_lineno or 0) - function.lineno + 1
        assert lines <= MOST_FUNCTION_LINES, f"{path.name}:{function.lineno} {function.name} has {lines} lines"


@pytest.mark.parametrize("path", _all_modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(_tree(path))


def test_the_rule_catches_an_import_that_goes_up(tmp_path: Path) -> None:
    bad = tmp_path / "masks.py"
    bad.write_text("def f():\n    from annoloop import coco\n    import torch.nn\n")
    assert _imports(bad) == (Import("annoloop", "coco", 2, False), Import("torch", None, 3, False))


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
    def snake(name: str) -> str:
        return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)

    reports = {
        returned.id
        for name in LEVELS[9]
        for function in _functions(_tree(PACKAGE / f"{name}.py"))
        if isinstance(returned := function.returns, ast.Name) and returned.id.endswith("Report")
        if function.name in (name, "to_coco", "from_coco")
    }
    assert len(reports) > 10
    assert not {snake(name) for name in reports} - {one.name for one in _functions(_tree(PACKAGE / "console.py"))}


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
