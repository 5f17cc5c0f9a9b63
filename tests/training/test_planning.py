"""The plan of ``recipe: auto``: what follows from the data, the machine and the time, and that it is a whole recipe."""

from __future__ import annotations

from dataclasses import replace
from math import nan, prod
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annoloop.training.planning import BASE, DataFacts, Hardware, Length, Plan, plan
from annoloop.training.recipes import recipe_path

CPU = Hardware("cpu", 16 << 30)
GPU = Hardware("cuda", 100 << 30)
STREET = DataFacts(
    classes=("background", "sign", "car"),
    background=0,
    images=240,
    val_images=80,
    image_hw=(360, 480),
    shares=(0.9, 0.01, 0.09),
    object_px=(100_000.0, 200.0, 900.0),
    upper_share=(0.5, 0.9, 0.2),
)
STEEL = replace(STREET, image_hw=(200, 200), upper_share=(0.5, 0.52, 0.45), object_px=(9e3, 800.0, 2000.0))


def line(chosen: Plan, what: str) -> tuple[str, str]:
    (found,) = (one for one in chosen.lines if one.what == what)
    return found.chosen, found.because


def test_small_pictures_are_taken_as_they_are() -> None:
    chosen = plan(STEEL, CPU, Length())
    assert chosen.values["scale"] == 1
    assert chosen.values["crop_size"] == (192, 192)


@pytest.mark.parametrize("hardware", [CPU, GPU])
def test_of_large_pictures_a_crop_still_sees_enough(hardware: Hardware) -> None:
    large = replace(STREET, image_hw=(2048, 4096), object_px=(9e6, 1e4, 1e5))
    small, big = plan(STREET, hardware, Length()), plan(large, hardware, Length())
    assert big.values["scale"] < small.values["scale"] <= 1
    said, because = line(big, "scale")
    assert said == f"{big.values['scale']:g}"
    assert "4096 x 2048" in because
    assert "sign" in because, "the smallest class is what a smaller scale costs"


def test_the_scale_does_not_wipe_out_the_smallest_class() -> None:
    tiny = replace(STREET, image_hw=(2048, 4096), object_px=(9e6, 15.0**2, 1e5))
    assert plan(tiny, CPU, Length()).values["scale"] * 15 >= 7.5


def test_pictures_with_a_top_are_not_turned_upside_down() -> None:
    assert plan(STREET, CPU, Length()).values["flips"] == ("horizontal",)
    assert plan(STEEL, CPU, Length()).values["flips"] == ("horizontal", "vertical")
    assert "90% of sign" in line(plan(STREET, CPU, Length()), "augmentation")[1]


@pytest.mark.parametrize(
    ("bands", "said"), [("L", "the grey channel three times"), ("RGB", "RGB"), ("RGBA", "RGB"), ("CMYK", "RGB")]
)
def test_channels_are_told(bands: str, said: str) -> None:
    chosen, because = line(plan(replace(STREET, bands=tuple(bands)), CPU, Length()), "input")
    assert chosen == said
    assert ("in_channels" in because) == (len(bands) > 3)


def test_a_batch_fits_into_the_memory_and_steps_stay_the_same() -> None:
    roomy, tight = plan(STREET, CPU, Length()), plan(STREET, replace(CPU, memory_bytes=1 << 30), Length())
    assert roomy.values["accumulate"] == 1
    assert tight.values["batch_size"] < roomy.values["batch_size"]
    assert tight.values["batch_size"] * tight.values["accumulate"] == roomy.values["batch_size"]
    assert "to a step" in line(tight, "batch")[0]
    names: dict[str, Any] = {}
    exec(tight.recipe(recipe_path(BASE).read_text(encoding="utf-8")), names)
    assert names["optim_wrapper"]["accumulative_counts"] == tight.values["accumulate"]
    assert names["train_cfg"]["max_iters"] == tight.values["accumulate"] * roomy.values["iterations"]


def test_the_length_is_what_was_asked_for() -> None:
    assert plan(STREET, CPU, Length(iterations=77)).values["iterations"] == 77
    said, because = line(plan(STREET, CPU, Length(budget_s=240.0, seconds_each=0.3)), "length")
    assert said == "4.0 min"
    assert "0.30 s" in because
    assert "the clock decides" in line(plan(STREET, CPU, Length(budget_s=240.0)), "length")[1]


def test_it_is_a_whole_recipe_with_its_reasons() -> None:
    chosen = plan(STREET, CPU, Length(iterations=77))
    text = chosen.recipe(recipe_path(BASE).read_text(encoding="utf-8"))
    names: dict[str, object] = {}
    exec(text, names)
    assert {name: names[name] for name in chosen.values} == dict(chosen.values)
    assert names["train_cfg"] == {"type": "IterBasedTrainLoop", "max_iters": 77, "val_interval": 12}
    for one in chosen.lines:
        assert f"# {one.what}: {one.chosen}; {one.because}" in text


facts = st.builds(
    lambda size, count, data: DataFacts(
        tuple(f"class {k}" for k in range(count)), data.draw(st.sampled_from([None, 0])), 9, 3, size,
        *(tuple(data.draw(st.lists(numbers, min_size=count, max_size=count))) for numbers in
          (st.floats(0, 1), st.one_of(st.just(nan), st.floats(1, 1e9)), st.one_of(st.just(nan), st.floats(0, 1)))),
    ),
    st.tuples(st.integers(1, 30_000), st.integers(1, 30_000)), st.integers(1, 5), st.data(),
)  # fmt: skip


@given(facts, st.sampled_from([CPU, GPU, replace(CPU, memory_bytes=0)]))
def test_any_data_can_be_planned_for(data: DataFacts, hardware: Hardware) -> None:
    chosen = plan(data, hardware, Length())
    crop = chosen.values["crop_size"]
    assert all(side % 32 == 0 and side > 0 for side in crop)
    assert prod(crop) <= 4 * 512 * 512
    assert chosen.values["batch_size"] >= 1
    assert all(one.chosen and one.because for one in chosen.lines)
