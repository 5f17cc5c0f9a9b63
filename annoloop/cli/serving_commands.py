"""The command that serves the model to CVAT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from annoloop.cli.options import FILE, common, example, open_screen, opened_project


@click.command("serve", epilog=example("annoloop serve", "annoloop serve --listen 172.17.0.1:8070"))
@click.option("--listen", default="127.0.0.1:8070", show_default=True, metavar="HOST:PORT", help="Where CVAT calls it.")
@click.option("--sam", type=FILE, help="A SAM-type decoder of your own, as segment-anything exports it to ONNX.")
@click.option("--sam-encoder", type=FILE, help="The encoder that belongs to it, in ONNX.")
@common
def serve_command(listen: str, sam: Path | None, sam_encoder: Path | None, **options: Any) -> None:
    """Offer the current model in CVAT: a detector and a tool for clicks; ^C ends it."""
    from annoloop.serving.server import serve

    screen = open_screen(options)
    with (
        opened_project(options, screen) as project,
        serve(project, listen=listen, sam=sam, sam_encoder=sam_encoder, say=screen.note) as session,
    ):

        def tell() -> None:
            screen.result(session.report)
            screen.say("^C ends it")

        session.wait(tell)
