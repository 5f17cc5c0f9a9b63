"""A run whose model was made and not trained: real weights in a real network, in the seconds of one child process.

Its predictions mean nothing, but they are those that the child makes of every image, all classes among them.
"""

from __future__ import annotations

from typing import Any

from small_job import in_child

from annoloop.data.images import file_sha256
from annoloop.project.project import Project
from annoloop.training.records import write_job

_CODE = """
import json, sys
from pathlib import Path
import torch
from annoloop.training.mmseg import worker
worker._import_framework()
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from annoloop.training.mmseg.checkpoint import save
from annoloop.training.mmseg.recipe import Machine, resolve
from annoloop.training.records import Job
job = Job.from_json(Path(sys.argv[1]).read_text())
config = resolve(job, Machine(), print)
init_default_scope("mmseg")
torch.manual_seed(int(sys.argv[2]))
model = MODELS.build(config.model)
model.init_weights()
with torch.no_grad():
    model.decode_head.conv_seg.weight.normal_(0, 1)
config.dump(job.run_dir / "config.py")
save(job.run_dir / "best.pth", {"state_dict": model.state_dict()})
print(json.dumps("made"))
"""


def add_made_model(project: Project, *, seed: int = 0, recipe: str = "unet_tiny") -> int:
    """Add a finished, promoted run; returns its number."""
    run = project.ledger.add_run(
        kind_digest=f"made {seed}", recipe=recipe, parent_id=None, class_digest=project.classes.digest
    )
    details: dict[str, Any] = {
        split: tuple((s.image, s.mask) for s in project.samples([split])) for split in ("train", "val")
    }
    details |= {"pretrained": "none", "iterations": 1, "device": "cpu"}
    job = project.job("train", project.run_dir(run), recipe=project.recipe(recipe), **details)
    in_child(_CODE, str(write_job(job)), str(seed))
    project.ledger.put_run_config(run, file_sha256(project.run_config(run)))
    project.ledger.judge_run(run, val_dice=0.5, promoted=True, verdict="better")
    return run
