"""Weights that a recipe wants to start from: found on this machine, fetched, replaced or left out.

Not here: annoloop's own checkpoints (``checkpoint``).  The fact to know: whatever cannot be had is
taken out of the config and said once; a training never fails for it, it only needs longer.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlparse

import mmengine
import torch
from mmengine.runner.checkpoint import get_external_models, get_mmcls_models

from annoloop.errors import ConfigError, install_command
from annoloop.training.mmseg.encoders import SCHEME, weights_in_wheel

Warn = Callable[[str], None]

_TIMEOUT_S = 20.0


def settle_pretrained(config: Any, choice: str, warn: Warn) -> None:
    """Make every source of weights in a config a file of this machine, or remove it.

    ``choice``: "auto" takes what the recipe names, "none" nothing, anything else is a file with the weights of
    the recipe's backbone.  A file that this side puts into the backbone stands in ``config.backbone_weights``;
    what a recipe takes from a hub stays where it is, for mmengine to load.

    Raises:
        ConfigError: no such file.
    """
    config.backbone_weights = None
    if choice not in ("auto", "none"):
        if not Path(choice).is_file():
            raise ConfigError("there is no such file of weights", where=choice, hint="auto, none, or a file")
        config.backbone_weights = choice
    for part, key in list(_slots(config.model)):
        source = part[key] if choice == "auto" else None
        if source is not None and source.startswith(f"{SCHEME}://"):
            config.backbone_weights, source = _in_wheel(source, warn), None
        part[key] = None if source is None else _at_hand(source, warn)
    for part in each_dict(config.model):
        init = part.get("init_cfg")
        if isinstance(init, dict) and init.get("type") == "Pretrained" and init["checkpoint"] is None:
            part["init_cfg"] = None
    whole = config.get("load_from")
    config.load_from = _at_hand(whole, warn) if whole and choice == "auto" else None


def forget_pretrained(config: Any) -> None:
    """No source of weights at all: where a run goes on, or predicts, it has weights of its own."""
    settle_pretrained(config, "none", lambda _: None)


def thaw_what_starts_at_random(model: Any, choice: str) -> None:
    """Nothing stays frozen that no weights are put into; ``choice`` is as above, and nothing is fetched for it."""
    sources = [part[key] for part, key in _slots(model)] if choice == "auto" else []
    in_wheels = [source for source in sources if source.startswith(f"{SCHEME}://")]
    if choice not in ("auto", "none") or any(weights_in_wheel(source) for source in in_wheels):
        return
    for part in each_dict(model):
        if "frozen_blocks" in part:
            part["frozen_blocks"] = 0


def _slots(model: Any) -> Iterator[tuple[Any, str]]:
    """Where a model names the file of its backbone's weights: ``init_cfg.checkpoint``, or ``pretrained`` of old."""
    for part in each_dict(model):
        init = part.get("init_cfg")
        if isinstance(init, dict) and init.get("type") == "Pretrained":
            yield init, "checkpoint"
        if isinstance(part.get("pretrained"), str):
            yield part, "pretrained"


def _in_wheel(source: str, warn: Warn) -> str | None:
    file = weights_in_wheel(source)
    if file is None:
        warn(f"training starts without the pretrained weights {source}: {install_command('train')} brings them")
    return None if file is None else str(file)


def _at_hand(source: str, warn: Warn) -> str | None:
    """The file of a source, fetched if need be; None where it cannot be had, and that is said."""
    url = _url(source)
    if url is None:
        path, trouble = Path(source), "there is no such file"
    else:
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
        trouble = "" if path.is_file() else _fetch(url, path)
    if path.is_file():
        return str(path)
    again = "" if url is None else f"; put {url} there to use it"
    warn(f"training starts without the pretrained weights {source}: {path}: {trouble}{again}")
    return None


def _url(source: str) -> str | None:
    """Where mmengine would download ``source`` from; None for a file."""
    scheme, found, name = source.partition("://")
    if not found:
        return None
    urls: dict[str, str] = _HUBS.get(scheme, dict)()
    return urls.get(name.removeprefix("models."), source)


def _torchvision_models() -> dict[str, str]:
    """torchvision's weights by name, as mmengine lists them; its own function wants torchvision for it."""
    listed: dict[str, str] = mmengine.load(Path(mmengine.__path__[0]) / "hub" / "torchvision_0.12.json")
    return listed


_HUBS: dict[str, Callable[[], dict[str, str]]] = {
    "open-mmlab": get_external_models,
    "openmmlab": get_external_models,
    "mmcls": get_mmcls_models,
    "torchvision": _torchvision_models,
    "modelzoo": _torchvision_models,
}


def _fetch(url: str, path: Path) -> str:
    """Download into torch's cache; what went wrong, or nothing."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)  # torch's download has no time-out of its own
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=_hash(url), progress=False)
    except (URLError, OSError, RuntimeError, ValueError) as error:
        return str(getattr(error, "reason", error))
    finally:
        socket.setdefaulttimeout(before)
    return ""


def _hash(url: str) -> str | None:
    """The eight digits of SHA-256 that OpenMMLab and torch put at the end of a checkpoint's name."""
    digits = Path(urlparse(url).path).stem.rpartition("-")[2]
    return digits if len(digits) == 8 and set(digits) <= set("0123456789abcdef") else None


def each_dict(node: Any) -> Iterator[Any]:
    """Every dict in a config, outermost first."""
    if isinstance(node, dict):
        yield node
    if isinstance(node, (dict, list, tuple)):
        for child in list(node.values()) if isinstance(node, dict) else node:
            yield from each_dict(child)
