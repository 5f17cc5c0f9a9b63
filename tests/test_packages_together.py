"""The heavy packages in one process, as a notebook has them: none may break another, whichever comes first."""

from __future__ import annotations

import subprocess
import sys

import pytest

PACKAGES = (
    "mlflow", "wandb", "tensorboardX", "torch", "mmseg.apis", "onnx", "onnxruntime", "onnxscript", "rasterio", "cv2",
    "cvat_sdk", "pycocotools.mask", "numba", "kornia_rs", "s3fs", "ray", "starlette", "fiftyone.core.service",
)  # fmt: skip

IMPORT_ALL = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        sys.exit(f"{name}: {error!r}")
"""


@pytest.mark.parametrize("order", [PACKAGES, PACKAGES[::-1]], ids=["as listed", "the other way round"])
def test_every_two_of_them_in_both_orders(order: tuple[str, ...]) -> None:
    run = subprocess.run([sys.executable, "-c", IMPORT_ALL, *order], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
