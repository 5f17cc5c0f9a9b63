"""The pages of the site that nobody writes: a hook of MkDocs (``mkdocs.yml``), which asks for them at every build.

Commands come from click, the keys of annoloop.yaml from their types; what stands beside ``docs/`` is taken in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from commands_page import commands_page
from configuration_page import configuration_page
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Give MkDocs the made pages."""
    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    return files


def pages() -> Mapping[str, str]:
    """Markdown of the pages that are not in ``docs/``, by file name."""
    return {
        "commands.md": commands_page(),
        "configuration.md": configuration_page(),
        "changelog.md": beside_docs("CHANGELOG.md"),
        "contributing.md": beside_docs("CONTRIBUTING.md"),
    }


def beside_docs(name: str) -> str:
    """A page from the root of the repository; its links are made those of a page in ``docs/``."""
    return re.sub(r"\]\(docs/([^)]+)\)", r"](\1)", (ROOT / name).read_text(encoding="utf-8"))
