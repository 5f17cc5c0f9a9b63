"""How the commands are presented: in the order of the loop, with whole sentences.

Not here: what a command does.  The fact to know: the common options may stand before the command as well as after it.
"""

from __future__ import annotations

import click

SECTIONS: dict[str, tuple[str, ...]] = {
    "Start": ("init", "login", "doctor", "eda", "convert"),
    "The loop": ("retrain", "evaluate", "push", "tasks", "pull", "undo", "watch"),
    "Hand over": ("predict", "export", "snapshot", "diff"),
    "Look": ("status", "log", "effort", "quality", "browse", "serve"),
    "Try": ("simulate", "demo", "sandbox", "help"),
}
"""The commands by the step of the loop at which people want them."""

_WHOLE = 1000
"""Characters of a short help text: more than any has, for one that is cut says less than none."""


class LoopGroup(click.Group):
    """The commands in sections."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """One section after the other."""
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(_WHOLE)) for name in names])

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order of the sections."""
        return [name for names in SECTIONS.values() for name in names]


class WholeGroup(click.Group):
    """A group of few commands, whose short help is not cut."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each with its first sentence."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, self.commands[name].get_short_help_str(_WHOLE)) for name in self.list_commands(ctx)]
            )
