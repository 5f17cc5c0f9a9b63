"""annoloop: the annotation loop for semantic segmentation as one tool, as commands and from Python.

    project = annoloop.open_project(".")
    report = annoloop.push(project, worst=50)

Not here: any code.  The fact to know: importing it loads nothing else; each name is loaded when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from annoloop.api.formats import from_cvat, from_yolo, to_cvat, to_yolo
    from annoloop.api.handover import compare, export_data, export_model, take_snapshot
    from annoloop.api.local import (
        data_report,
        from_coco,
        from_colors,
        history,
        init,
        open_project,
        status,
        to_coco,
        undo,
    )
    from annoloop.api.model import (
        browse,
        evaluate,
        export_gallery,
        plan_prediction,
        plan_training,
        predict,
        retrain,
        serve,
    )
    from annoloop.api.remote import connect, effort, login, pull, push, quality, tasks
    from annoloop.api.trials import simulate
    from annoloop.app.browse import BrowseReport, BrowseSession, ExportReport
    from annoloop.eda.eda import EdaReport
    from annoloop.errors import (
        AnnoloopError,
        ColourMaskError,
        ConfigError,
        CvatError,
        DataError,
        FileError,
        GateError,
        Interrupted,
        LedgerError,
        MissingExtraError,
        MissingPackageError,
        NothingToPushError,
        OutOfMemoryError,
        StoreError,
        TrainingError,
    )
    from annoloop.loop.conversion.coco import FromCocoReport, ToCocoReport
    from annoloop.loop.conversion.colors import FromColorsReport
    from annoloop.loop.conversion.cvat_masks import FromCvatReport, ToCvatReport
    from annoloop.loop.conversion.yolo import FromYoloReport, ToYoloReport
    from annoloop.loop.effort import EffortReport
    from annoloop.loop.evaluate import EvaluateReport
    from annoloop.loop.exchange.pull_report import PullReport
    from annoloop.loop.handover.compare import DiffReport
    from annoloop.loop.handover.export import ExportDataReport
    from annoloop.loop.handover.export_model import ExportModelReport
    from annoloop.loop.handover.snapshot import SnapshotReport
    from annoloop.loop.history import LogEntry
    from annoloop.loop.login import LoginReport
    from annoloop.loop.plan import PlanReport
    from annoloop.loop.prediction.predict import PredictPlan, PredictReport
    from annoloop.loop.push import PushReport
    from annoloop.loop.quality import QualityReport
    from annoloop.loop.retrain import RetrainReport
    from annoloop.loop.setup.start import InitReport
    from annoloop.loop.status import StatusReport
    from annoloop.loop.tasks import TasksReport
    from annoloop.loop.undo import UndoReport
    from annoloop.project.project import Project
    from annoloop.reports.as_json import to_plain
    from annoloop.serving.server import ServeReport, ServeSession
    from annoloop.simulation.trial_report import SimulateReport

__version__ = "0.1.0"

__all__ = [
    "AnnoloopError",
    "BrowseReport",
    "BrowseSession",
    "ColourMaskError",
    "ConfigError",
    "CvatError",
    "DataError",
    "DiffReport",
    "EdaReport",
    "EffortReport",
    "EvaluateReport",
    "ExportDataReport",
    "ExportModelReport",
    "ExportReport",
    "FileError",
    "FromCocoReport",
    "FromColorsReport",
    "FromCvatReport",
    "FromYoloReport",
    "GateError",
    "InitReport",
    "Interrupted",
    "LedgerError",
    "LogEntry",
    "LoginReport",
    "MissingExtraError",
    "MissingPackageError",
    "NothingToPushError",
    "OutOfMemoryError",
    "PlanReport",
    "PredictPlan",
    "PredictReport",
    "Project",
    "PullReport",
    "PushReport",
    "QualityReport",
    "RetrainReport",
    "ServeReport",
    "ServeSession",
    "SimulateReport",
    "SnapshotReport",
    "StatusReport",
    "StoreError",
    "TasksReport",
    "ToCocoReport",
    "ToCvatReport",
    "ToYoloReport",
    "TrainingError",
    "UndoReport",
    "__version__",
    "browse",
    "compare",
    "connect",
    "data_report",
    "effort",
    "evaluate",
    "export_data",
    "export_gallery",
    "export_model",
    "from_coco",
    "from_colors",
    "from_cvat",
    "from_yolo",
    "history",
    "init",
    "login",
    "open_project",
    "plan_prediction",
    "plan_training",
    "predict",
    "pull",
    "push",
    "quality",
    "retrain",
    "serve",
    "simulate",
    "status",
    "take_snapshot",
    "tasks",
    "to_coco",
    "to_cvat",
    "to_plain",
    "to_yolo",
    "undo",
]

# No function has the name of a package in this folder: to import the package would put that in its place.
_HOMES = {
    "annoloop.api.formats": "from_cvat from_yolo to_cvat to_yolo",
    "annoloop.api.handover": "compare export_data export_model take_snapshot",
    "annoloop.api.local": "data_report from_coco from_colors history init open_project status to_coco undo",
    "annoloop.api.model": "browse evaluate export_gallery plan_prediction plan_training predict retrain serve",
    "annoloop.api.remote": "connect effort login pull push quality tasks",
    "annoloop.api.trials": "simulate",
    "annoloop.app.browse": "BrowseReport BrowseSession ExportReport",
    "annoloop.eda.eda": "EdaReport",
    "annoloop.errors": "AnnoloopError ColourMaskError ConfigError CvatError DataError FileError GateError Interrupted"
    " LedgerError MissingExtraError MissingPackageError NothingToPushError OutOfMemoryError StoreError TrainingError",
    "annoloop.loop.conversion.coco": "FromCocoReport ToCocoReport",
    "annoloop.loop.conversion.cvat_masks": "FromCvatReport ToCvatReport",
    "annoloop.loop.conversion.yolo": "FromYoloReport ToYoloReport",
    "annoloop.loop.conversion.colors": "FromColorsReport",
    "annoloop.loop.effort": "EffortReport",
    "annoloop.loop.evaluate": "EvaluateReport",
    "annoloop.loop.exchange.pull_report": "PullReport",
    "annoloop.loop.handover.compare": "DiffReport",
    "annoloop.loop.handover.export": "ExportDataReport",
    "annoloop.loop.handover.export_model": "ExportModelReport",
    "annoloop.loop.handover.snapshot": "SnapshotReport",
    "annoloop.loop.history": "LogEntry",
    "annoloop.loop.login": "LoginReport",
    "annoloop.loop.plan": "PlanReport",
    "annoloop.loop.prediction.predict": "PredictPlan PredictReport",
    "annoloop.loop.push": "PushReport",
    "annoloop.loop.quality": "QualityReport",
    "annoloop.loop.retrain": "RetrainReport",
    "annoloop.loop.setup.start": "InitReport",
    "annoloop.loop.status": "StatusReport",
    "annoloop.loop.tasks": "TasksReport",
    "annoloop.loop.undo": "UndoReport",
    "annoloop.project.project": "Project",
    "annoloop.reports.as_json": "to_plain",
    "annoloop.serving.server": "ServeReport ServeSession",
    "annoloop.simulation.trial_report": "SimulateReport",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load what is asked for (PEP 562)."""
        if name not in _HOME_OF:
            raise AttributeError(f"module 'annoloop' has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
        return found

    def __dir__() -> list[str]:
        """What is there and what can be loaded."""
        return sorted({*globals(), *_HOME_OF})
