"""The name under which users' recipes import our data set and crops; they live in ``training/mmseg/data.py``."""

from annoloop.training.mmseg.data import *  # noqa: F403
