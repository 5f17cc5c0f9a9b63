"""The name under which users' recipes import our losses; they live in ``training/mmseg/losses.py``."""

from annoloop.training.mmseg.losses import *  # noqa: F403
