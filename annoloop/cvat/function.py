"""The name under which cvat-cli finds the model (``--function-module``); it lives in ``serving/cvat_function.py``."""

from annoloop.serving.cvat_function import create as create
