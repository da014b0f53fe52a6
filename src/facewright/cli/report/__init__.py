"""The report of a run: figures in, one HTML page out that needs no other file and no network."""

from facewright.cli.report.gallery import Gallery, Shown
from facewright.cli.report.loop import Loop, PairTest, loop_figures, loop_report
from facewright.cli.report.model import Curve, Figure, Histogram, Person, Report, Step, Table
from facewright.cli.report.page import render
from facewright.cli.report.personalised import Personalised, PersonalisedPicture
from facewright.cli.report.sheet import contact_sheet

__all__ = [
    "Curve",
    "Figure",
    "Gallery",
    "Histogram",
    "Loop",
    "PairTest",
    "Person",
    "Personalised",
    "PersonalisedPicture",
    "Report",
    "Shown",
    "Step",
    "Table",
    "contact_sheet",
    "loop_figures",
    "loop_report",
    "render",
]
