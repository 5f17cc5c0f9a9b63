"""Proposals are found over all images, heaviest first, and what was answered is known again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from running_loop import Loop

from annoloop.data.images import IndexImage, encode_index_png, write_atomic
from annoloop.selection.proposals import LEAST_PX, Answered, Proposal, find_proposals


def found(loop: Loop, count: int = 1000, **details: object) -> list[Proposal]:
    samples = loop.project.samples(["train"])
    rows = loop.project.scan(samples)
    run = loop.project.current_run()
    assert run is not None
    pairs = [(one, rows[one.id]) for one in samples]
    return find_proposals(loop.project, run.id, pairs, count, **details)  # type: ignore[arg-type]


def test_the_heaviest_of_all_images_come_first(loop: Loop) -> None:
    everything = found(loop)
    assert len({one.sample.id for one in everything}) > 1
    assert [one.weight for one in everything] == sorted((one.weight for one in everything), reverse=True)
    assert all(one.region.area_px >= LEAST_PX for one in everything)
    assert [one.rank for one in found(loop, 3)] == [one.rank for one in everything[:3]]


def test_an_answered_region_is_known_again_though_the_model_draws_it_a_little_otherwise(loop: Loop) -> None:
    first = found(loop)[0]
    bits = first.region.bits.copy()
    bits[: max(1, bits.shape[0] // 4)] = False
    moved = replace(first.region, bits=bits)
    other = replace(first.region, bits=np.zeros_like(bits))
    known = {first.sample.id: [Answered(moved, first.becomes)]}
    assert first.rank not in [one.rank for one in found(loop, answered=known)]
    for unlike in (Answered(moved, first.becomes + 1), Answered(other, first.becomes)):
        asked = found(loop, answered={first.sample.id: [unlike]})
        assert first.rank in [one.rank for one in asked]


def test_predictions_out_of_fold_go_before_the_model_s_own(loop: Loop) -> None:
    first = found(loop)[0]
    run = loop.project.current_run()
    assert run is not None
    index_png, confidence_png = loop.project.out_of_fold_paths(run.id, first.row.image_sha256)
    label = loop.project.prediction(run.id, first.row.image_sha256)
    write_atomic(confidence_png, encode_index_png(IndexImage(np.full_like(label, 255))))
    assert first.sample.mask is not None
    write_atomic(index_png, first.sample.mask.read_bytes())
    assert first.sample.id not in {one.sample.id for one in found(loop)}, "that model agrees with the label"
