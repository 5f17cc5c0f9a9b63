"""annoloop.yaml: reading it into a frozen ``Config``, and writing it with comments.

The only module that knows YAML, and, with ``data_section.py`` and ``train_section.py``, which have the sections
``data`` and ``train``, pydantic.  All faults are reported at once, each with its key.
Credentials never stand here (law 9).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from annoloop.data.data_section import DataConfig as DataConfig
from annoloop.data.data_section import Section
from annoloop.data.durations import seconds_of
from annoloop.data.train_section import TrainConfig as TrainConfig
from annoloop.errors import AnnoloopError, ConfigError, meant
from annoloop.masks.classes import MAX_CLASSES, WIDE_IGNORE, ClassTable, class_table

FILE_NAME = "annoloop.yaml"

SECRET_KEYS = ("token", "password", "access_token", "username", "secret")


class ClassConfig(Section):
    """One class, in index order."""

    name: str = Field(min_length=1)
    """The name, which is its label's in CVAT, too."""
    color: str | None = None
    """``#rrggbb``, on every picture and in CVAT; null: one is chosen."""


class CvatConfig(Section):
    """The server and how tasks are cut."""

    url: str = "http://localhost:8080"
    """Address of the server; http or https, without credentials."""
    organization: str | None = None
    """Slug of the organization; null: your personal workspace."""
    project: str | None = None
    """Name of the project in CVAT; null: this project's name."""
    segment_size: int = Field(default=0, ge=0)
    """Images per job; 0: one job per task."""
    assignees: tuple[str, ...] = ()
    """User names; jobs are handed out to them in turn."""
    ca_file: Path | None = None
    """PEM file of a private certificate authority, relative to this file."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Seconds that a silent server is waited for."""
    patience: float | str = "5m"
    """How long a server that has answered before, and now is down or fails, is asked again: seconds, or ``5m``."""

    @field_validator("patience")
    @classmethod
    def _a_wait(cls, patience: float | str) -> float | str:
        if isinstance(patience, str):
            seconds_of(patience)
        elif not 0 <= patience < math.inf:
            raise ValueError("must be seconds, 0 or more, or a duration like 90s or 5m")
        return patience

    @property
    def patience_s(self) -> float:
        """``patience`` in seconds."""
        return seconds_of(self.patience) if isinstance(self.patience, str) else self.patience

    @field_validator("url")
    @classmethod
    def _plain_http_url(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")) or "@" in url:
            raise ValueError("must start with http:// or https:// and hold no credentials")
        return url.rstrip("/")


class PushConfig(Section):
    """What goes into a CVAT task."""

    source: Literal["label", "prediction", "both"] = "label"
    """What an annotator begins with where an image has a label; one without gets the model's prediction."""
    shape: Literal["mask", "polygon"] = "mask"
    """mask: exact; polygon: loses pixels where somebody edits."""
    tolerance_px: float = Field(default=1.0, ge=0)
    """Of polygons, in px: a corner goes whose triangle is smaller than this, squared; 0: exact."""
    min_region_px: int = Field(default=16, ge=0)
    """Areas of a class that are smaller, in px, travel together as one shape."""
    context: bool = True
    """Pictures of labels, prediction and errors beside each frame in CVAT."""
    issues_per_frame: int = Field(default=2, ge=0, le=20)
    """At most so many of the largest errors of a frame are pinned on it as issues."""
    tiles: int = Field(default=0, ge=0)
    """Larger images are cut into squares of so many px, 64 or more; 0: none are."""
    overlap: int = Field(default=64, ge=0)
    """Neighbouring tiles share so many px, at most half a tile."""
    random_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the images, 0 to 1, that is drawn by chance instead of by score."""

    @field_validator("source", mode="before")
    @classmethod
    def _old_word(cls, source: object) -> object:
        return "label" if source == "ground-truth" else source


class Config(Section):
    """The whole file."""

    project: str = Field(min_length=1, max_length=100)
    """Name of the project, at most 100 characters."""
    data: DataConfig
    """Where images and masks lie."""
    classes: tuple[ClassConfig, ...] = Field(min_length=1)
    """All classes in index order. The list is a contract with CVAT: rename or reorder between tasks, not during one."""
    ignore_index: int = Field(default=255, ge=0, le=WIDE_IGNORE)
    """Value of pixels in a mask that are neither trained on nor scored. Beyond 255, as 65535, masks have 16 bits."""
    background: str | None = None
    """What a pixel becomes that no shape covers: a class, which is then never drawn; ``ignore``, which null means, too;
    or ``previous``, the value that it had."""
    cvat: CvatConfig = CvatConfig()
    """The server, and how tasks are cut."""
    train: TrainConfig = TrainConfig()
    """How models are trained."""
    push: PushConfig = PushConfig()
    """What goes into a task."""

    @model_validator(mode="after")
    def _classes_are_a_table(self) -> Config:
        object.__setattr__(self, "data", self.data.for_ignore_index(self.ignore_index))
        if self.data.reduce_zero_label and self.ignore_index != 255:
            raise ValueError("reduce_zero_label needs ignore_index 255, as in mmseg")
        if self.data.reduce_zero_label and len(self.classes) > MAX_CLASSES - 1:
            raise ValueError(f"reduce_zero_label leaves room for {MAX_CLASSES - 1} classes")
        self.data.check_labels(len(self.classes), self.ignore_index)
        try:
            self.table()
        except AnnoloopError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def cvat_project(self) -> str:
        """The name of the project in CVAT."""
        return self.cvat.project or self.project

    def table(self) -> ClassTable:
        """The class contract."""
        return class_table(
            (c.name for c in self.classes),
            [c.color for c in self.classes],
            ignore_index=self.ignore_index,
            background=self.background,
            values=tuple(self.data.values.items()),
            nearest=self.data.nearest,
        )


def checked(section: Mapping[str, Any]) -> DataConfig:
    """The section ``data`` from its keys.

    Raises:
        ConfigError: they do not fit: all faults at once.
    """
    try:
        return DataConfig(**section)
    except ValidationError as error:
        raise ConfigError(_all_faults(error), where="data") from None


def composed(**sections: Any) -> Config:
    """A configuration from its sections.

    Raises:
        ConfigError: they do not fit: all faults at once.
    """
    try:
        return Config(**sections)
    except ValidationError as error:
        raise ConfigError(_all_faults(error)) from None


def find(start: Path) -> Path:
    """annoloop.yaml in ``start`` or the nearest folder above it.

    Raises:
        ConfigError: there is none.
    """
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise ConfigError(
        f"no {FILE_NAME} here or above",
        where=start,
        hint="annoloop init DATA_ROOT writes one; --project DIR names its folder",
    )


def load(path: Path) -> Config:
    """Read annoloop.yaml; ``data.root`` comes back absolute, relative paths being beside the file.

    Raises:
        ConfigError: not readable, not YAML, or faults in it: all of them at once.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", where=path) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {error}", where=path) from error
    if not isinstance(raw, dict):
        raise ConfigError("must be a mapping with the keys project, data, classes, …", where=path)
    _refuse_secrets(raw, path)
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_all_faults(error), where=path) from None
    root = config.data.root
    if isinstance(root, Path):
        root = (path.parent / root.expanduser()).resolve()
    data = config.data.model_copy(update={"root": root})
    ca_file = config.cvat.ca_file and path.parent / config.cvat.ca_file.expanduser()
    cvat = config.cvat.model_copy(update={"ca_file": ca_file})
    return config.model_copy(update={"data": data, "cvat": cvat})


def render(config: Config) -> str:
    """annoloop.yaml with comments; ``load`` of it gives the same configuration."""
    data, cvat, train, push = config.data, config.cvat, config.train, config.push
    return f"""\
# annoloop project file. Paths are relative to this file. Unknown keys are errors.
# Credentials do not belong here: annoloop login, or CVAT_ACCESS_TOKEN (or CVAT_USERNAME and CVAT_PASSWORD).
project: {_scalar(config.project)}

data:
  root: {_scalar(str(data.root))}  # or a URL in an object store: s3://bucket/steel
  # folders and suffixes: one for all splits, or one for each, as {{train: train/images, val: val/images}}
  image_dir: {_scalar(data.image_dir)}
  mask_dir: {_scalar(data.mask_dir)}
{_name_lines(data)}  # a split is a folder below image_dir and mask_dir, or a .txt list of stems below root;
  # train, val, test, and pool for images that have no mask yet
  splits: {_scalar(data.splits)}
  # what stored values mean, where they are no class indices: {{255: 1}}, a stored 255 is class 1
  values: {_scalar(data.values)}
  nearest: {_scalar(data.nearest)}  # a value between those named means the nearest, as in JPEG masks
  reduce_zero_label: {_scalar(data.reduce_zero_label)}  # as in mmseg: stored 0 is ignore, 1 is class 0

# in index order; the list is a contract with CVAT, so rename or reorder between tasks, not during one
classes:
{_class_lines(config)}
ignore_index: {config.ignore_index}  # beyond 255, as 65535: masks have 16 bits
# what a pixel becomes that no shape covers: a class, which is then never drawn; or ignore; or previous, its old value
background: {_scalar(config.background)}

cvat:
  url: {_scalar(cvat.url)}
  organization: {_scalar(cvat.organization)}  # slug; null: your personal workspace
  project: {_scalar(cvat.project)}  # name in CVAT; null: the project's name
  segment_size: {cvat.segment_size}  # images per job; 0: one job per task
  assignees: {_scalar(list(cvat.assignees))}  # user names; jobs go round robin
  ca_file: {_scalar(cvat.ca_file and str(cvat.ca_file))}  # PEM file of a private certificate authority
  timeout_s: {cvat.timeout_s}  # how long to wait for a silent server
  patience: {_scalar(cvat.patience)}  # how long to ask again when the server is down meanwhile; seconds, or as in 5m

train:
  recipe: {_scalar(train.recipe)}  # auto: planned for data, machine and time; a shipped recipe; or a file
  device: {train.device}  # auto, cpu, cuda
  budget: {_scalar(train.budget)}  # how long a training may take, as in 30m; null: as many iterations as follow
  iterations: {_scalar(train.iterations)}  # null: as the recipe says
  batch_size: {_scalar(train.batch_size)}  # null: as the recipe says
  precision: {train.precision}  # auto: bfloat16 where the hardware is faster with it; bfloat16, float32
  pretrained: {_scalar(train.pretrained)}  # auto: the recipe's, fetched if need be; none; or a file for its backbone
  gpus: {train.gpus}  # processes on each machine, one for each GPU
  nodes: {train.nodes}  # machines; with slurm through srun
  seed: {train.seed}
{_tracking_lines(train)}
push:
  source: {push.source}  # label: correct the labels; prediction: the model's masks; both: labels and additions
  shape: {push.shape}  # mask: exact; polygon: loses pixels where somebody edits
  tolerance_px: {push.tolerance_px}  # polygons: corners go whose triangle is smaller than this, squared
  min_region_px: {push.min_region_px}  # smaller specks of a class travel as one shape
  context: {_scalar(push.context)}  # pictures of labels, prediction and errors beside each frame in CVAT
  issues_per_frame: {push.issues_per_frame}  # at most so many of the largest errors are pinned as issues
  random_share: {push.random_share}  # share of images drawn by chance instead of by score
"""


def _name_lines(data: DataConfig) -> str:
    """How files are named; prefixes only where there are some."""
    keys = [key for key in ("image_prefix", "mask_prefix") if getattr(data, key)]
    return "".join(f"  {key}: {_scalar(getattr(data, key))}\n" for key in (*keys, "image_suffix", "mask_suffix"))


def _tracking_lines(train: TrainConfig) -> str:
    """Where trainings are tracked, too."""
    return f"""\
  track: {train.track}  # mlflow, tensorboard, wandb: where trainings can be followed and compared; none: nowhere
  track_uri: {_scalar(train.track_uri)}  # a server or database of mlflow, a folder of tensorboard, a server of wandb
  track_project: {_scalar(train.track_project)}  # experiment or project there; null: this project's name
"""


def _class_lines(config: Config) -> str:
    return "\n".join(
        f"  - {{name: {_scalar(c.name)}, color: {_scalar(c.color)}}}  # index {i}" for i, c in enumerate(config.classes)
    )


def _scalar(value: object) -> str:
    # Dumped inside a list: there a comma or a bracket gets its quotes, as it needs them in our {…}.
    value = list(value) if isinstance(value, tuple) else value
    if isinstance(value, dict):
        value = {key: list(one) if isinstance(one, tuple) else one for key, one in value.items()}
    dump = partial(yaml.safe_dump, [value], default_flow_style=True, width=math.inf, sort_keys=False)
    listed = str(dump(allow_unicode=True)).removesuffix("\n")
    # What is not printable is escaped, wherever it stands: PyYAML would fold U+0085 and its like into spaces.
    if not listed.isprintable():
        listed = str(dump(allow_unicode=False)).removesuffix("\n")
    return listed.removeprefix("[").removesuffix("]")


def _all_faults(error: ValidationError) -> str:
    lines = []
    for fault in error.errors():
        key = ".".join(map(str, fault["loc"])) or "the file"
        lines.append(f"\n  {key}: {_in_words(fault)}")
    return f"{len(lines)} fault{'s' if len(lines) > 1 else ''}" + "".join(lines)


def _in_words(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        *above, name = fault["loc"]
        return f"unknown key{meant(str(name), _keys_below(above))}"
    return str(fault["msg"]).removeprefix("Value error, ")


def _keys_below(place: Sequence[int | str]) -> Collection[str]:
    """The keys that a section may have, by its own keys from the top; a number stands for one of many alike."""
    section: Any = Config
    for key in place:
        if isinstance(key, str):
            section = section.model_fields[key].annotation
        section = next((one for one in get_args(section) if isinstance(one, type)), section)
    return getattr(section, "model_fields", ())


def _refuse_secrets(raw: dict[str, Any], path: Path) -> None:
    """A token in a file that gets committed is a leak; say so instead of 'unknown key'."""
    cvat = raw.get("cvat")
    found = sorted(set(SECRET_KEYS) & set(cvat)) if isinstance(cvat, dict) else []
    if found:
        raise ConfigError(
            f"cvat.{found[0]} must not stand in the project file",
            where=path,
            hint="annoloop login, or CVAT_ACCESS_TOKEN (or CVAT_USERNAME and CVAT_PASSWORD) in the environment",
        )
