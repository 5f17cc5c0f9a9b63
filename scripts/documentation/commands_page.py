"""The page on the commands: every option, default and example, as click knows them.

An option that many commands take is explained once.  The fact to know: where an option that is not given is looked
up in annoloop.yaml, its default is that key.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click
from markdown_text import cell, fenced, table

from annoloop.cli.main import commands
from annoloop.data.config import CvatConfig, PushConfig, TrainConfig
from annoloop.errors import AnnoloopError

SHARED_BY = 5
"""So many commands take an option that is explained once for all of them."""

SECTIONS_OF = {
    "retrain": (("train", TrainConfig),),
    "push": (("push", PushConfig), ("cvat", CvatConfig)),
}
"""Where a command looks for an option that is not given."""

SHARED_TITLE, SHARED_ANCHOR = "Options that many commands take", "options-that-many-commands-take"

BEFORE = "What nearly all take may also stand before the command: `annoloop --json status`."

OTHER_CODES = {
    0: "Done",
    2: "Wrong usage: an option or an argument that there is not, or a value that it cannot have",
    70: "A bug in annoloop; run again with `--debug` and report the traceback",
}
"""Codes that no error of ours has."""

MORE_ON_CODES = {
    8: "; the hint names the extra that brings it",
    9: "; so ends `doctor` that found a fault",
    130: "; what was finished is kept, and the message says what",
}


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it is typed, without ``annoloop`` before it."""

    name: str
    command: click.Command

    @property
    def context(self) -> click.Context:
        """What click wants to know before it says how the command is used."""
        return click.Context(self.command, info_name=f"annoloop {self.name}")

    @property
    def options(self) -> list[click.Option]:
        """Its options but for ``--help``, in the order of its help."""
        return [one for one in self.command.params if isinstance(one, click.Option)]

    @property
    def link(self) -> str:
        """A link to its section."""
        return f"[`{self.name}`](#annoloop-{self.name.replace(' ', '-')})"


def every_command(group: click.Group = commands, above: str = "") -> Iterator[Command]:
    """All commands that do something, as ``push`` or ``convert to-coco``, in the order of the help."""
    for name in group.list_commands(click.Context(group)):
        command = group.commands[name]
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield Command(f"{above}{name}", command)
        if isinstance(command, click.Group):
            yield from every_command(command, f"{above}{name} ")


def commands_page() -> str:
    """The whole page."""
    every = list(every_command())
    takers: dict[str, list[Command]] = {}
    for one in every:
        for option in one.options:
            takers.setdefault(identity(option), []).append(one)
    shared = {name: ones for name, ones in takers.items() if len(ones) >= SHARED_BY}
    parts = [
        "# Commands",
        "The same as `annoloop COMMAND --help` says. Results go to stdout, progress to stderr.",
        table(
            ("command", "what it does"),
            [(one.link, cell(one.command.get_short_help_str(limit=200))) for one in every],
        ),
    ]
    for one in every:
        parts += section(one, set(shared))
    parts += [f"## {SHARED_TITLE}", shared_table(shared, every), BEFORE, "## Exit codes", exit_codes()]
    return "\n\n".join(parts) + "\n"


def section(one: Command, shared: set[str]) -> Iterator[str]:
    """What a command does, how it is typed, its own options, examples."""
    yield f"## annoloop {one.name}"
    yield from paragraphs(one.command.help or "")
    yield fenced(f"annoloop {one.name} {' '.join(one.command.collect_usage_pieces(one.context))}", "text")
    own = [option for option in one.options if identity(option) not in shared]
    if own:
        rows = [(typed(option, one), default_of(option, one), cell(option.help or "")) for option in own]
        yield table(("option", "default", "what it does"), rows)
    others = [f"`{option.opts[-1]}`" for option in one.options if identity(option) in shared]
    if others:
        yield f"{'Also' if own else 'Takes'} {', '.join(others)}: [see below](#{SHARED_ANCHOR})."
    yield fenced("\n".join(examples(one)), "bash")


def identity(option: click.Option) -> str:
    """What tells an option from others: how it is typed, and what is said of it."""
    return f"{'/'.join(option.opts)} {option.help}"


def shared_table(shared: dict[str, list[Command]], every: Sequence[Command]) -> str:
    """The options that many commands take, and which take them."""
    rows = []
    for name, takers in shared.items():
        option = next(option for option in takers[0].options if identity(option) == name)
        rest = [one.link for one in every if one not in takers]
        but = f"all but {' and '.join(rest)}" if rest else "all"
        by = but if len(rest) < SHARED_BY else ", ".join(one.link for one in takers)
        rows.append((typed(option, takers[0]), cell(option.help or ""), by))
    return table(("option", "what it does", "taken by"), rows)


def typed(option: click.Option, one: Command) -> str:
    """How an option is typed, with what follows it."""
    names = ", ".join([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return f"`{names}`"
    follows = option.make_metavar(one.context).replace(" RANGE", "")
    if isinstance(option.type, click.Choice):
        follows = follows.strip("[]")
    return cell(f"`{names}` `{follows}`{bounds(option.type)}")


def bounds(kind: Any) -> str:
    """The bounds of a number in words."""
    if not isinstance(kind, click.IntRange | click.FloatRange):
        return ""
    return f" ({kind.min} to {kind.max})" if kind.max is not None else f" (at least {kind.min})"


def default_of(option: click.Option, one: Command) -> str:
    """What holds where an option is not given: the key of annoloop.yaml that says, or its own default."""
    for name, keys in SECTIONS_OF.get(one.name, ()):
        if option.name in keys.model_fields:
            return f"[`{name}.{option.name}`](configuration.md#{name})"
    default = option.to_info_dict()["default"]
    if option.required:
        return "required"
    if option.is_flag and option.secondary_opts:
        return f"`{(option.opts if default else option.secondary_opts)[0]}`"
    if option.is_flag or default in (None, "", (), []):
        return ""
    return f"`{', '.join(default) if isinstance(default, tuple | list) else default}`"


def examples(one: Command) -> list[str]:
    """The command lines below a command's help."""
    lines = [line.strip() for line in (one.command.epilog or "").splitlines()]
    return [line for line in lines if line.startswith("annoloop ")]


def paragraphs(text: str) -> Iterator[str]:
    r"""Help as Markdown: what stands behind ``\b`` keeps its lines."""
    for block in inspect.cleandoc(text).split("\n\n"):
        if block.startswith("\b"):
            title, _, lines = block.removeprefix("\b\n").partition("\n")
            yield _code(title)
            yield fenced(inspect.cleandoc(lines), "text")
        else:
            yield _code(block)


def _code(text: str) -> str:
    return re.sub(r"(?<![\w`-])(--[a-z][a-z-]*)", r"`\1`", text)


def exit_codes() -> str:
    """The codes with which a command ends: those of the errors, and a few more."""
    errors = AnnoloopError.__subclasses__()
    said = {one.exit_code: re.split(r"[.:;](?:\s|$)", one.__doc__ or "")[0] for one in errors} | OTHER_CODES
    rows = [(str(code), cell(f"{said[code]}{MORE_ON_CODES.get(code, '')}.")) for code in sorted(said)]
    return table(("exit code", "meaning"), rows)
