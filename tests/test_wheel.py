"""The wheel holds everything that is installed with it, and works where nothing but its dependencies is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "annoloop"
RECIPES = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if path.stem != "__init__")
TEMPLATES = sorted(path.name for path in (PACKAGE / "reports" / "templates").iterdir())


def packages() -> set[str]:
    """Folders below annoloop with an ``__init__.py``, by their dotted names; and the recipes."""
    inside = {".".join(file.parent.relative_to(ROOT).parts) for file in PACKAGE.rglob("__init__.py")}
    return inside | {"annoloop.configs"}


def run(*command: str | Path, cwd: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of what it is made of: nothing else may be needed, and nothing is left behind."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in ("annoloop", "configs"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, copy / file)
    isolation = ["--no-build-isolation"] if find_spec("setuptools") else []
    run(sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", *isolation, "--wheel-dir", out, copy, cwd=copy)
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--target", folder, wheel, cwd=folder)
    return folder


def python(installed: Path, code: str, arguments: Sequence[str] = ()) -> str:
    """What a Python prints whose annoloop is the installed one, far from the source."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    first = f"import sys\nsys.path.insert(0, {str(installed)!r})\n"
    return run(sys.executable, "-I", "-c", first + code, *arguments, cwd=installed, environment=environment)


def test_the_packages_in_pyproject_are_those_on_disk() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(project["tool"]["setuptools"]["packages"]) == packages()


@pytest.mark.slow
def test_the_wheel_holds_every_module_recipe_template_and_the_plugin(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py")}
    recipes = {f"annoloop/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    data = {f"annoloop/reports/templates/{name}" for name in TEMPLATES}
    data |= {"annoloop/py.typed", "annoloop/app/plugin/fiftyone.yml"}
    assert {name for name in names if name.startswith("annoloop/")} == modules | recipes | data
    others = {name.split("/")[0] for name in names if not name.startswith("annoloop/")}
    assert all(name.endswith(".dist-info") for name in others), others


USE = """
import json
from pathlib import Path
import annoloop
from annoloop.simulation.made_data import NAMES, make_data

made = make_data(Path("made"), {"train": 3, "val": 2}, size_hw=(40, 56))
annoloop.init(made.root, "made", classes=NAMES)
with annoloop.open_project("made") as project:
    pages = [annoloop.data_report(project).page, annoloop.export_gallery(project, "gallery").page]
    recipes = [project.recipe(name) for name in sys.argv[1:]]
print(json.dumps([annoloop.__file__, *map(str, recipes + pages)]))
"""


@pytest.mark.slow
def test_installed_it_imports_answers_draws_and_has_its_recipes(installed: Path) -> None:
    assert "retrain" in python(installed, "from annoloop.cli.main import main\nmain(['--help'])")
    own, *files = json.loads(python(installed, USE, RECIPES).splitlines()[-1])
    assert own == str(installed / "annoloop" / "__init__.py")
    recipes, pages = files[: len(RECIPES)], files[len(RECIPES) :]
    assert recipes == [str(installed / "annoloop" / "configs" / f"{name}.py") for name in RECIPES]
    assert all((installed / page).stat().st_size > 1000 for page in pages)
