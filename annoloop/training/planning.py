"""``recipe: auto``: from the data, the machine and the length of a training to a complete mmseg config with reasons.

Plain numbers in, a recipe's text out; nothing but the machine is looked at here.  The fact to know: the plan is the
shipped recipe ``unet_lite0`` with the values between its two marks replaced: whoever wants another plan edits that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from annoloop.compute.hardware import free_memory_bytes, gpu_memory_bytes
from annoloop.data.durations import in_words

AUTO = "auto"
"""The name under which a planned recipe is asked for."""

BASE = "unet_lite0"
"""The recipe that is planned with: no other was as good after the same minutes on a CPU."""

_MARKS = ("# planned", "# end of what is planned")

_STRIDE = 32
_VIEW = 1 / 4
"""Of a picture at its working scale a crop shall show at least so much, or shapes lose their surroundings."""

_CROP_PX = {"cpu": 192 * 256, "cuda": 512 * 512}
_SCALES = (1.0, 0.75, 0.5, 0.375, 0.25)
_SMALLEST_OBJECT_PX = 8
"""Side of the smallest class's usual object at the working scale; what is smaller is not found again."""

_BATCH = {"cpu": 8, "cuda": 16}
_BYTES_PER_PX = 3_000
"""Memory of a training step for each pixel of a batch, measured with float32 and rounded up."""

_MEMORY_SHARE = 0.5
_LOPSIDED = 0.1
"""Classes that lie in the upper half by so much more or less than half say that pictures have a top."""

ZOOM = (1.0, 1.0)
FOREGROUND_SHARE = 0.5
CLASS_WEIGHT_POWER = 0.5
LEARNING_RATE = 0.003
"""Found by ablation (docs/training.md)."""

_ITERATIONS = 1500
_TRAINING_SHARE = 0.8
"""Of a budget, what is left to train when loading, validation and scoring are taken off."""


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What a plan has to know of the training images; by class, in index order, the background among them.

    ``object_px``: half of a class's pixels lie in connected components of at least so many px, NaN for none;
    ``upper_share``: of a class's pixels those in the upper half of their picture, NaN for none; ``image_hw``: the most
    frequent size in px; ``bands``: the names of their channels.
    """

    classes: tuple[str, ...]
    background: int | None
    images: int
    val_images: int
    image_hw: tuple[int, int]
    shares: tuple[float, ...]
    object_px: tuple[float, ...]
    upper_share: tuple[float, ...]
    bands: tuple[str, ...] = ("R", "G", "B")

    @property
    def foreground(self) -> list[int]:
        """The classes with a pixel, without the background."""
        return [k for k, share in enumerate(self.shares) if share > 0 and k != self.background]


@dataclass(frozen=True, slots=True)
class Hardware:
    """Where it will run: "cpu" or "cuda", and the memory of the device that is free, in bytes."""

    device: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Length:
    """How long: iterations, or seconds, or neither.

    ``seconds_each`` of an iteration, and how many are ``expected`` in the seconds, where that is known.
    """

    iterations: int | None = None
    budget_s: float | None = None
    seconds_each: float | None = None
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class PlanLine:
    """One choice: what it is about, what was chosen, and why."""

    what: str
    chosen: str
    because: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The choices; ``values`` are those of the recipe's planned part by name."""

    lines: tuple[PlanLine, ...]
    values: Mapping[str, Any]

    def recipe(self, base: str) -> str:
        """The text of a complete mmseg config: ``base``, the text of the recipe ``BASE``, with this plan in it."""
        before, rest = base.split(_MARKS[0], 1)
        after = rest.split(_MARKS[1], 1)[1]
        reasons = [f"# {line.what}: {line.chosen}; {line.because}" for line in self.lines]
        values = [f"{name} = {value!r}" for name, value in self.values.items()]
        return "\n".join([f"{before}# planned for the data and the machine of this run", *reasons, *values]) + after


def hardware_here(device: str) -> Hardware:
    """This machine, for a training on "auto", "cpu" or "cuda"."""
    gpu_bytes = gpu_memory_bytes() if device != "cpu" else None
    if gpu_bytes is not None:
        return Hardware("cuda", gpu_bytes)
    return Hardware("cpu", free_memory_bytes())


def plan(data: DataFacts, hardware: Hardware, length: Length) -> Plan:
    """Choose everything that depends on the data, the machine and the time."""
    scale, scale_line = _scale(data, hardware.device)
    crop, crop_line = _crop(data, scale, hardware.device)
    batch, accumulate, batch_line = _batch(crop, hardware)
    flips, flips_line = _flips(data)
    iterations, length_line = _length(data, length, batch * accumulate)
    lines = (_network(), _input(data), scale_line, crop_line, batch_line, *_balance(data), flips_line, length_line)
    values = {
        "scale": scale,
        "crop_size": crop,
        "zoom": ZOOM,
        "flips": flips,
        "foreground_share": FOREGROUND_SHARE,
        "class_weight_power": CLASS_WEIGHT_POWER,
        "batch_size": batch,
        "accumulate": accumulate,
        "learning_rate": LEARNING_RATE,
        "iterations": iterations * (1 if length.iterations else accumulate),
    }
    return Plan(lines, values)


def _network() -> PlanLine:
    return PlanLine(
        "network",
        f"{BASE}: a U-Net on EfficientNet-Lite0, answers at stride 4",
        "after minutes a pretrained start has found small classes of which a random one has found none",
    )


def _input(data: DataFacts) -> PlanLine:
    names = ", ".join(data.bands)
    if len(data.bands) == 1:
        return PlanLine(
            "input", "the grey channel three times", "the pretrained weights answer it as they answer colours"
        )
    if len(data.bands) > len("RGB"):
        own = "a recipe of one's own with in_channels takes all of them"
        return PlanLine("input", "RGB", f"mmseg reads colours; the pictures have {names}: {own}")
    return PlanLine("input", "RGB", f"the pictures have {names}")


def _scale(data: DataFacts, device: str) -> tuple[float, PlanLine]:
    """The largest working scale at which a crop sees enough, unless the smallest objects would vanish."""
    height, width = data.image_hw
    seen = {scale: min(1.0, _CROP_PX[device] / (height * width * scale**2)) for scale in _SCALES}
    sides = {k: math.sqrt(data.object_px[k]) for k in data.foreground if data.object_px[k] > 0}
    smallest = min(sides, key=lambda k: sides[k], default=None)
    kept = [s for s in _SCALES if smallest is None or s == 1 or s * sides[smallest] >= _SMALLEST_OBJECT_PX]
    scale = next((s for s in kept if seen[s] >= _VIEW), kept[-1])
    reason = f"a crop sees {seen[scale]:.0%} of a picture of {width} x {height} px"
    if smallest is not None:
        reason += f"; half of {data.classes[smallest]} is in objects of {_px(sides[smallest] * scale)} px across then"
    if seen[scale] < _VIEW:
        reason += ", smaller ones would be lost"
    return scale, PlanLine("scale", f"{scale:g}", reason)


def _crop(data: DataFacts, scale: float, device: str) -> tuple[tuple[int, int], PlanLine]:
    """As much of the picture, in its own shape, as the device has time for; sides are multiples of the stride."""
    height, width = (length * scale for length in data.image_hw)
    shrunk = min(1.0, math.sqrt(_CROP_PX[device] / (height * width)))
    crop_hw = (_multiple(height * shrunk), _multiple(width * shrunk))
    return crop_hw, PlanLine(
        "crop",
        f"{crop_hw[1]} x {crop_hw[0]} px",
        f"the shape of the pictures ({_px(width)} x {_px(height)} px at this scale), as large as a"
        f" {'GPU' if device == 'cuda' else 'CPU'} has time for",
    )


def _batch(crop_hw: tuple[int, int], hardware: Hardware) -> tuple[int, int, PlanLine]:
    wanted = _BATCH[hardware.device]
    each_bytes = crop_hw[0] * crop_hw[1] * _BYTES_PER_PX
    batch = wanted
    while batch > 1 and batch * each_bytes > _MEMORY_SHARE * hardware.memory_bytes:
        batch //= 2
    accumulate = wanted // batch
    chosen = f"{batch}" if accumulate == 1 else f"{batch}, {accumulate} of them to a step"
    needs = f"about {batch * each_bytes / 1e9:.1f} GB of the {hardware.memory_bytes / 1e9:.0f} GB that are free"
    return batch, accumulate, PlanLine("batch", chosen, needs)


def _balance(data: DataFacts) -> Iterator[PlanLine]:
    rarest = min(data.foreground, key=lambda k: data.shares[k], default=None)
    rare = "there is no foreground" if rarest is None else _rare(data.classes[rarest], data.shares[rarest])
    yield PlanLine("class weights", f"inverse frequency to the power {CLASS_WEIGHT_POWER:g}", rare)
    yield PlanLine(
        "sampling",
        f"{FOREGROUND_SHARE:.0%} of the crops around a pixel of a class",
        "every class of a picture equally likely, however small it is",
    )


def _flips(data: DataFacts) -> tuple[tuple[str, ...], PlanLine]:
    """Upside down only where no class says what is up."""
    told = {k: data.upper_share[k] for k in data.foreground if not math.isnan(data.upper_share[k])}
    lopsided = max(told, key=lambda k: abs(told[k] - 0.5), default=None)
    if lopsided is not None and abs(told[lopsided] - 0.5) > _LOPSIDED:
        lies = f"pictures have a top: {told[lopsided]:.0%} of {data.classes[lopsided]} lies in the upper half"
        return ("horizontal",), PlanLine("augmentation", "flipped left to right", lies)
    every = "no class prefers the upper or the lower half"
    return ("horizontal", "vertical"), PlanLine("augmentation", "flipped both ways", every)


def _length(data: DataFacts, length: Length, images_each: int) -> tuple[int, PlanLine]:
    each_s, budget_s = length.seconds_each, length.budget_s
    if budget_s is not None:
        said = "the clock decides; the first iterations will tell how many"
        if each_s is not None:
            expected = length.expected or max(1, int(_TRAINING_SHARE * budget_s / each_s))
            said = f"about {expected} iterations of {each_s:.2f} s, {_passes(expected, images_each, data)}"
        return _ITERATIONS, PlanLine("length", in_words(budget_s), said)
    iterations = length.iterations or _ITERATIONS
    takes = "" if each_s is None else f", about {in_words(iterations * each_s)}"
    return iterations, PlanLine("length", f"{iterations} iterations", _passes(iterations, images_each, data) + takes)


def _passes(iterations: int, images_each: int, data: DataFacts) -> str:
    return f"{iterations * images_each / max(1, data.images):.3g} passes over {data.images} pictures"


def _rare(name: str, share: float) -> str:
    return f"{name} has {100 * share:.2g} % of the pixels"


def _px(length: float) -> str:
    return f"{length:.0f}"


def _multiple(px: float) -> int:
    return max(_STRIDE, int(px / _STRIDE + 0.5) * _STRIDE) if px > _STRIDE else _STRIDE
