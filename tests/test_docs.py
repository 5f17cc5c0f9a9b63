"""Documents that cannot lie: commands, options, keys, files, links and pictures that they name are there.

The site is built as it is published.  The fact to know: pages on commands and on annoloop.yaml are made from the code
(``scripts/documentation/``), so here they are held against it anew.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest
from markdown.extensions.toc import slugify
from PIL import Image
from pydantic import BaseModel

import annoloop
from annoloop.cli.main import commands
from annoloop.data.config import Config
from annoloop.errors import AnnoloopError

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

sys.path.insert(0, str(ROOT / "scripts" / "documentation"))
from configuration_page import every_key, meanings_of  # noqa: E402
from pages import pages  # noqa: E402

MOST_README_LINES = 150

MADE = pages()
BESIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
WRITTEN = {name: (ROOT / name).read_text(encoding="utf-8") for name in BESIDE} | {
    f"docs/{page.name}": page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("*.md"))
}
EVERY = WRITTEN | {name: MADE[name] for name in ("commands.md", "configuration.md")}
"""Every page by the name of its file; those without a folder are made."""

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")

COMMON = {"--project", "--json", "--verbose", "--quiet", "--debug"}


def bash_lines() -> list[tuple[str, str]]:
    """Every line of a block of bash, with its page; a line that goes on behind a backslash is one."""
    return [
        (name, line)
        for name, text in EVERY.items()
        for language, block in FENCE.findall(text)
        if language == "bash"
        for line in block.replace("\\\n", " ").splitlines()
    ]


def spans() -> list[tuple[str, str]]:
    """Every word of code in the prose, with its page."""
    return [
        (name, " ".join(span.split())) for name, text in EVERY.items() for span in SPAN.findall(FENCE.sub("", text))
    ]


def every_command(group: click.Group = commands, above: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield f"{above}{name}", command
        if isinstance(command, click.Group):
            yield from every_command(command, f"{above}{name} ")


def options_of(command: click.Command) -> set[str]:
    return {name for one in command.params for name in (*one.opts, *one.secondary_opts) if name.startswith("-")}


def type_it(line: str) -> None:
    """Parse a command line as ``annoloop`` would, with all its values; raises where it would refuse it."""
    words = shlex.split(line, comments=True)
    end = next((number for number, word in enumerate(words) if word in ("<", ">", "|", "&&", ";")), len(words))
    _descend(commands, "annoloop", words[1:end], None)


def _descend(command: click.Command, name: str, words: Sequence[str], parent: click.Context | None) -> None:
    if not isinstance(command, click.Group):
        with command.make_context(name, list(words), parent=parent):
            return
    context = click.Context(command, info_name=name, parent=parent)
    _, rest, _ = command.make_parser(context).parse_args(list(words))
    if rest:
        below, found, words = command.resolve_command(context, rest)
        assert below is not None
        assert found is not None
        _descend(found, below, words, context)


def unknown_options(span: str) -> set[str]:
    """Options in a word of code that its command does not take; its values may be left open, as in ``--worst N``."""
    words = span.removeprefix("annoloop ").split()
    command: click.Command = commands
    takes = options_of(commands) | {"--help"}
    for word in words:
        if not isinstance(command, click.Group) or word not in command.commands:
            continue
        command = command.commands[word]
        takes |= options_of(command)
    return {word.partition("=")[0] for word in words if word.startswith("--")} - takes


ANNOLOOP_LINES = [(name, line) for name, line in bash_lines() if line.startswith("annoloop ")]


def test_the_readme_is_short() -> None:
    assert len(WRITTEN["README.md"].splitlines()) <= MOST_README_LINES


@pytest.mark.parametrize(("page", "line"), ANNOLOOP_LINES, ids=lambda text: text[:60])
def test_a_command_line_is_one_that_annoloop_takes(page: str, line: str) -> None:
    type_it(line)


def test_command_lines_are_found_on_all_kinds_of_pages() -> None:
    assert {"README.md", "docs/your-data.md", "docs/machines-and-stores.md", "commands.md"} <= dict(
        ANNOLOOP_LINES
    ).keys()
    assert len(ANNOLOOP_LINES) > 40


@pytest.mark.parametrize(
    "line",
    ["annoloop pusch --worst 3", "annoloop push --worts 3", "annoloop push --worst many", "annoloop sandbox fly"],
)
def test_a_command_line_that_annoloop_refuses_is_noticed(line: str) -> None:
    with pytest.raises(click.UsageError):
        type_it(line)


def test_commands_named_in_the_prose_are_there_with_their_options() -> None:
    names = set(commands.commands)
    typed = [(page, span) for page, span in spans() if re.match(r"annoloop [a-z-]", span) or span.split()[0] in names]
    assert len(typed) > 40
    assert not [(page, span) for page, span in typed if unknown_options(span)]
    assert not [(page, span) for page, span in typed if span.startswith("annoloop ") and not _first(span) <= names]
    assert unknown_options("annoloop push --worts 3") == {"--worts"}


def _first(span: str) -> set[str]:
    """The command that a word of code names; an option may stand before it."""
    return set([word for word in span.split()[1:] if not word.startswith("-")][:1])


def test_options_named_in_the_prose_are_taken_by_some_command_or_script() -> None:
    known = {option for _, command in every_command() for option in options_of(command)}
    scripts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "scripts").rglob("*.py"))
    known |= set(re.findall(r'"(--[a-z-]+)"', scripts))
    named = {re.split(r"[ =,]", span)[0] for _, span in spans() if span.startswith("--")}
    assert len(named) > 20
    assert named <= known


def test_files_of_the_repository_that_are_named_are_there() -> None:
    text = "\n".join(EVERY.values())
    named = set(re.findall(r"(?<![\w/.-])((?:scripts|annoloop|configs|tests|\.ci)/[\w./-]*\w/?)", text))
    real = {name for name in named if "NAME" not in name}
    assert len(real) > 20
    assert not {name for name in real if not (ROOT / name).exists()}


@pytest.mark.parametrize("page", WRITTEN)
def test_links_lead_somewhere_and_pictures_are_there(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", WRITTEN[page])):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        on_the_site = page.startswith("docs/") and name in MADE
        assert on_the_site or file.is_file(), target
        if anchor:
            text = MADE[name] if on_the_site else file.read_text(encoding="utf-8")
            assert anchor in {slugify(title, "-") for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}, target


def pictures() -> list[Path]:
    return sorted(path for path in DOCS.iterdir() if path.suffix in (".png", ".jpg", ".webp"))


@pytest.mark.parametrize("path", pictures(), ids=lambda path: path.name)
def test_a_picture_is_shown_has_all_its_colours_and_is_small(path: Path) -> None:
    assert any(f"]({path.name})" in text for text in WRITTEN.values())
    with Image.open(path) as picture:
        assert picture.mode == "RGB"
        assert picture.getcolors(256) is None, "as few colours as a palette has"
    assert path.stat().st_size < 500_000


def section(page: str, title: str) -> str:
    """What stands below a heading of a made page, down to the next one."""
    return MADE[page].partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(("name", "command"), every_command(), ids=lambda one: one if isinstance(one, str) else "")
def test_the_page_on_commands_has_every_command_with_its_options(name: str, command: click.Command) -> None:
    if isinstance(command, click.Group) and not command.invoke_without_command:
        return
    text = section("commands.md", f"annoloop {name}")
    assert "```bash\nannoloop " in text
    assert f"[`{name}`](#annoloop-{slugify(name, '-')})" in MADE["commands.md"]
    shared = section("commands.md", "Options that many commands take")
    for option in command.params:
        if isinstance(option, click.Option):
            assert re.search(rf"`[^`]*{option.opts[-1]}\b[^`]*`", text), option.opts
            assert str(option.help).split("|")[0] in text + shared, option.opts


def test_the_page_on_commands_has_every_exit_code() -> None:
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", section("commands.md", "Exit codes"), re.MULTILINE)}
    assert told == {error.exit_code for error in AnnoloopError.__subclasses__()} | {0, 2, 70}


def fields(model: type[BaseModel]) -> Iterator[tuple[type[BaseModel], str]]:
    """Every key with the section that it stands in, by pydantic's own account."""
    for name, field in model.model_fields.items():
        yield model, name
        for kind in (field.annotation, *typing.get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from fields(kind)


@pytest.mark.parametrize(("model", "name"), fields(Config), ids=lambda one: one if isinstance(one, str) else "")
def test_the_page_on_annoloop_yaml_has_every_key_with_its_meaning(model: type[BaseModel], name: str) -> None:
    meaning = meanings_of(model)[name]
    assert meaning.endswith(".")
    (row,) = [key for key in every_key() if key.name.split(".")[-1] == name and key.meaning == meaning]
    text = section("configuration.md", "Keys" if row.section == row.name else row.section)
    assert re.search(
        rf"^\| \[?`{name}`.*{re.escape(' '.join(meaning.split()).replace('``', '`'))} \|$", text, re.MULTILINE
    )


def test_the_changelog_has_the_version() -> None:
    assert f"\n## {annoloop.__version__}\n" in WRITTEN["CHANGELOG.md"]


def test_the_site_is_built_without_a_warning_and_needs_no_network(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert built.returncode == 0, built.stderr
    names = {f"{Path(name).stem}.html" for name in (*MADE, *(page for page in WRITTEN if page.startswith("docs/")))}
    assert names <= {page.name for page in tmp_path.glob("*.html")}
    for page in tmp_path.glob("*.html"):
        assert not re.findall(r"<(?:script|img|link)[^>]*(?:src|href)=\"(?:https?:)?//[^\"]+\"", page.read_text()), page
