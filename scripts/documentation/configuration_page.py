"""The page on annoloop.yaml: every key with type, default and meaning, from the configuration's types.

The fact to know: what a key means stands below it in ``annoloop/data/config.py``, ``data_section.py`` or
``train_section.py``, as a string, and is read from the source; asking pydantic to read it would cost every command
time.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union

from markdown_text import cell, fenced, table
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from annoloop.data.config import FILE_NAME, Config, render

EXAMPLE = {
    "project": "steel",
    "data": {"root": "data", "splits": {"train": "train", "val": "val", "test": "test"}},
    "classes": [{"name": name} for name in ("background", "inclusion", "patch", "scratch")],
    "background": "background",
}

ABOUT = f"""\
`annoloop init` writes the file `{FILE_NAME}`. Commands look for it in the working folder and the folders above, or in
the folder that `--project` names. A key that is not listed here is an error; all faults are told at once. In
`data.root` `$NAME` stands for the environment's variable of that name. Credentials never stand here: `annoloop login`
keeps them, see [CVAT](cvat.md)."""

TYPES: Mapping[Any, str] = {str: "text", int: "integer", float: "number", bool: "true or false", NoneType: "null"}
"""What is left is a place: on the disk, or in a store."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key; ``name`` as in ``data.root``, those of a list's items as in ``classes[].name``."""

    name: str
    field: FieldInfo
    meaning: str

    @property
    def section(self) -> str:
        """The section that it stands in; of a key of the file itself, its own name."""
        return self.name.partition(".")[0].removesuffix("[]")

    @property
    def last(self) -> str:
        """What is written before the colon."""
        return self.name.rpartition(".")[2]


def every_key(model: type[BaseModel] = Config, above: str = "") -> Iterator[Key]:
    """All keys, each section's below it."""
    meanings = meanings_of(model)
    for name, field in model.model_fields.items():
        assert name in meanings, f"what {above}{name} means should stand below it in annoloop/data/config.py"
        yield Key(f"{above}{name}", field, meanings[name])
        for item in typing.get_args(field.annotation):
            if _is_section(item):
                yield from every_key(item, f"{above}{name}[].")
        if _is_section(field.annotation):
            yield from every_key(typing.cast("type[BaseModel]", field.annotation), f"{above}{name}.")


def meanings_of(model: type[BaseModel]) -> Mapping[str, str]:
    """The string that stands below each key of a section."""
    (section,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(section, ast.ClassDef)
    return {
        key.target.id: inspect.cleandoc(said.value.value)
        for key, said in zip(section.body, section.body[1:], strict=False)
        if isinstance(key, ast.AnnAssign) and isinstance(key.target, ast.Name)
        if isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant) and isinstance(said.value.value, str)
    }


def configuration_page() -> str:
    """The whole page."""
    keys = list(every_key())
    top = [key for key in keys if key.name == key.section]
    parts = [f"# {FILE_NAME}", ABOUT, "As `annoloop init` writes it:"]
    parts += [fenced(render(Config.model_validate(EXAMPLE)).rstrip(), "yaml"), "## Keys"]
    below = {key.name: [one for one in keys if one.section == key.name != one.name] for key in top}
    rows = [row(key, f"[`{key.name}`](#{key.name})" if below[key.name] else f"`{key.name}`") for key in top]
    parts.append(key_table(rows))
    for key in top:
        if below[key.name]:
            parts += [f"## {key.name}", key.meaning, key_table(row(one, f"`{one.last}`") for one in below[key.name])]
    return "\n\n".join(parts) + "\n"


def key_table(rows: Iterable[tuple[str, ...]]) -> str:
    """A table of keys."""
    return table(("key", "type", "default", "meaning"), rows)


def row(key: Key, shown: str) -> tuple[str, ...]:
    """A key's row."""
    kind = f"{type_of(key.field.annotation)}{bounds(key.field)}"
    return shown, cell(kind), cell(default_of(key.field)), cell(key.meaning)


def type_of(kind: Any) -> str:
    """A type as somebody who writes YAML thinks of it."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if _is_section(kind):
        return "section"
    if origin is Annotated:
        return type_of(inner[0])
    if origin is Literal:
        return _either([f"`{one}`" for one in inner])
    if origin in (Union, UnionType):
        return _either(list(dict.fromkeys(map(type_of, inner))))
    if origin is tuple:
        return f"list of {type_of(inner[0])}s".replace("texts", "text")
    if origin is dict:
        return f"{type_of(inner[1])} for each of {type_of(inner[0]).replace(' or ', ', ')}"
    return TYPES.get(kind, "path" if kind is Path else "URL")


def _either(words: list[str]) -> str:
    return " or ".join(([", ".join(words[:-1])] if words[:-1] else []) + words[-1:])


def bounds(field: FieldInfo) -> str:
    """The bounds of a number, where it has any."""
    said = {name: getattr(one, name) for one in field.metadata for name in ("ge", "gt", "le") if hasattr(one, name)}
    if "le" in said:
        return f", {said['ge']} to {said['le']}"
    if "ge" in said:
        return f", at least {said['ge']}"
    return f", more than {said['gt']}" if "gt" in said else ""


def default_of(field: FieldInfo) -> str:
    """A default as it would stand in the file."""
    if field.is_required():
        return "required"
    if isinstance(field.default, BaseModel):
        return ""
    if isinstance(field.default, bool) or field.default in (None, ()):
        return {None: "`null`", True: "`true`", False: "`false`", (): "`[]`"}[field.default]
    return f"`{field.default}`"


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
