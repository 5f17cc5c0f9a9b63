"""A SAM-type decoder: what it is given and what is made of its answer, by sessions of NumPy and, where there is
onnxruntime, by small files."""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lambda_manager import LambdaManager
from PIL import Image

from annoloop.data.config import FILE_NAME
from annoloop.errors import ConfigError, DataError, MissingExtraError
from annoloop.project.project import Project
from annoloop.serving import server
from annoloop.serving.clicks import Prompts
from annoloop.serving.sam import DECODER_INPUTS, SamDecoder, points_of

HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


class Encoder:
    """Answers with the padded image itself, reduced; counts how often it was asked."""

    def __init__(self, side: int | str = 64) -> None:
        self.asked: list[np.ndarray] = []
        self._side = side

    def get_inputs(self) -> Any:
        return [SimpleNamespace(name="images", shape=[1, 3, self._side, self._side])]

    def get_outputs(self) -> Any:
        return [SimpleNamespace(name="embeddings")]

    def run(self, names: Any, inputs: Mapping[str, Any]) -> Any:
        self.asked.append(inputs["images"])
        return [np.zeros((1, 256, 64, 64), np.float32)]


class Decoder:
    """Marks the pixels within 5 px of a click, and knows three masks of which the second is the surest."""

    def __init__(self, inputs: tuple[str, ...] = DECODER_INPUTS) -> None:
        self.given: list[dict[str, Any]] = []
        self._inputs = inputs

    def get_inputs(self) -> Any:
        return [SimpleNamespace(name=name, shape=[]) for name in self._inputs]

    def get_outputs(self) -> Any:
        return [SimpleNamespace(name=name) for name in ("masks", "iou_predictions", "low_res_masks")]

    def run(self, names: Any, inputs: Mapping[str, Any]) -> Any:
        self.given.append(dict(inputs))
        height, width = inputs["orig_im_size"].astype(int)
        masks = np.full((1, 3, height, width), -1.0, np.float32)
        masks[0, 1, 2:4, 1:6] = 3.0
        return [masks, np.array([[0.1, 0.9, 0.5]], np.float32), np.zeros((1, 3, 256, 256), np.float32)]


def png(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (124, 116, 104)).save(stream, "PNG")
    return stream.getvalue()


def test_clicks_are_enlarged_with_the_image_which_is_padded_right_and_below() -> None:
    encoder, decoder = Encoder(64), Decoder()
    sam = SamDecoder(encoder, decoder)
    found = sam.segment(png(16, 8), Prompts(positive=((4, 2),), negative=((12, 6),)))
    assert found.shape == (8, 16)
    assert found.sum() == 10
    assert found[2:4, 1:6].all()
    (image,) = encoder.asked
    assert image.shape == (1, 3, 64, 64)
    assert image.dtype == np.float32
    assert np.abs(image[0, :, :32]).max() < 0.05  # the colour is the mean
    assert not image[0, :, 32:].any()
    (given,) = decoder.given
    assert given["point_coords"].tolist() == [[[16, 8], [48, 24], [0, 0]]]
    assert given["point_labels"].tolist() == [[1, 0, -1]]
    assert given["orig_im_size"].tolist() == [8, 16]
    assert given["mask_input"].shape == (1, 1, 256, 256)
    assert given["has_mask_input"].tolist() == [0]
    assert set(given) == set(DECODER_INPUTS)


def test_a_box_is_two_points() -> None:
    coords, labels = points_of(Prompts(positive=((1, 2),), box_ltrb=(3, 4, 5, 6)))
    assert coords.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert labels.tolist() == [1, 2, 3]


def test_an_image_is_looked_at_once() -> None:
    encoder = Encoder("width")  # an encoder of any size takes the usual one
    sam = SamDecoder(encoder, Decoder())
    for click in ((1, 1), (2, 2)):
        sam.segment(png(10, 20), Prompts(positive=(click,)))
    assert [one.shape for one in encoder.asked] == [(1, 3, 1024, 1024)]
    sam.segment(png(11, 20), Prompts(positive=((1, 1),)))
    assert len(encoder.asked) == 2
    with pytest.raises(DataError, match="cannot be read as an image"):
        sam.segment(b"no image", Prompts(positive=((1, 1),)))


def test_another_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="it lacks has_mask_input, orig_im_size"):
        SamDecoder(Encoder(), Decoder(DECODER_INPUTS[:4]))
    with pytest.raises(ConfigError, match="must take one image"):
        SamDecoder(Decoder(), Decoder())


@pytest.mark.parametrize("by_name", [True, False])
def test_it_is_a_function_of_its_own_with_a_port_of_its_own(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, by_name: bool
) -> None:
    monkeypatch.setattr(server, "_decoder", lambda *_: SamDecoder(Encoder(), Decoder()))
    with Project(model_folder / FILE_NAME) as project, server.serve(project, listen="127.0.0.1:0") as session:
        report = session.report
        assert report.functions[-1] == "annoloop-my-steel-sam"
        assert report.sam_url not in (None, report.url)
        cvat = LambdaManager(report.url if by_name else str(report.sam_url))
        reply = cvat.interact(png(16, 8), [[2, 2]], name=report.functions[-1] if by_name else None)
        assert np.array(reply.body["mask"]).sum() == 10
        about = cvat.request(f"/api/functions/{report.functions[-1]}").body
        assert f":{about['status']['httpPort']}" == str(report.sam_url)[-6:]
        assert cvat.interact(png(16, 8), name=report.functions[-1] if by_name else None).status == 400
        assert LambdaManager(report.url).detect(png(16, 8)).status == 200


def test_without_onnxruntime_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"onnxruntime is not installed") as caught:
        SamDecoder.of_files(Path("decoder.onnx"), Path("encoder.onnx"))
    assert (caught.value.extra, caught.value.exit_code) == ("sam", 8)


@pytest.mark.skipif(not HAS_ONNX, reason="NOT TESTED with real ONNX files: onnx and onnxruntime are not installed")
def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        SamDecoder.of_files(tmp_path / "decoder.onnx", tmp_path / "encoder.onnx")
    (tmp_path / "encoder.onnx").write_bytes(b"no model")
    with pytest.raises(ConfigError, match="cannot be loaded as an ONNX model"):
        SamDecoder.of_files(tmp_path / "decoder.onnx", tmp_path / "encoder.onnx")


def write_model(path: Path, nodes: list[Any], inputs: dict[str, list[Any]], outputs: dict[str, list[Any]]) -> Path:
    from onnx import TensorProto, helper

    given, found = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in of.items()]
        for of in (inputs, outputs)
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(helper.make_graph(nodes, "sam", given, found), opset_imports=opset, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.skipif(not HAS_ONNX, reason="NOT TESTED with real ONNX files: onnx and onnxruntime are not installed")
def test_real_files_are_asked_with_the_types_and_shapes_that_they_take(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    encoder = write_model(
        tmp_path / "encoder.onnx",
        [helper.make_node("MaxPool", ["images"], ["embeddings"], kernel_shape=[4, 4], strides=[4, 4])],
        {"images": [1, 3, 64, 64]},
        {"embeddings": [1, 3, 16, 16]},
    )
    # What is found is the whole image where the clicks' labels add up to more than nothing.
    decoder = write_model(
        tmp_path / "decoder.onnx",
        [
            helper.make_node("Cast", ["orig_im_size"], ["size"], to=TensorProto.INT64),
            helper.make_node("Constant", [], ["ones"], value_ints=[1, 1]),
            helper.make_node("Concat", ["ones", "size"], ["shape"], axis=0),
            helper.make_node("ReduceSum", ["point_labels"], ["sum"]),
            helper.make_node("Expand", ["sum", "shape"], ["masks"]),
        ],
        {
            "image_embeddings": [1, 3, 16, 16],
            "point_coords": [1, "points", 2],
            "point_labels": [1, "points"],
            "mask_input": [1, 1, 256, 256],
            "has_mask_input": [1],
            "orig_im_size": [2],
        },
        {"masks": [1, 1, "height", "width"]},
    )
    sam = SamDecoder.of_files(decoder, encoder)
    found = sam.segment(png(16, 8), Prompts(positive=((4, 2), (5, 3))))
    assert found.shape == (8, 16)
    assert found.all()
    assert not sam.segment(png(16, 8), Prompts(positive=(), negative=((4, 2),))).any()
    with pytest.raises(ConfigError, match="it lacks image_embeddings"):
        SamDecoder.of_files(encoder, encoder)
