"""This repository is an nbgrader course: solutions/ is the source, notebooks/ the release.

docs/GRADING.md says why it departs from the stock settings.
"""

import os
import sys

import nbgrader.preprocessors as stock
from nbconvert.preprocessors import ClearMetadataPreprocessor, CSSHTMLHeaderPreprocessor

sys.path.insert(
    0,
    os.path.dirname(os.path.abspath(__file__))
    if "__file__" in globals()
    else os.getcwd(),
)
from classroom import preprocessors as ours

c = get_config()  # noqa: F821  (nbgrader provides it)
c.CourseDirectory.course_id = "llm_course"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "notebooks"
c.CourseDirectory.ignore = [
    ".ipynb_checkpoints",
    "*.pyc",
    "__pycache__",
    "feedback",
    "*.py",
]
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError"}
c.GenerateAssignment.preprocessors = [
    stock.IncludeHeaderFooter,
    stock.LockCells,
    stock.ClearSolutions,
    stock.ClearOutput,
    ours.ClearNoise,
    stock.CheckCellMetadata,
    stock.ComputeChecksums,
    stock.SaveCells,
    stock.ClearHiddenTests,
    stock.ClearMarkScheme,
    stock.ComputeChecksums,
    stock.CheckCellMetadata,
]
c.Autograde.sanitize_preprocessors = [
    stock.ClearOutput,
    ours.RepairCells,  # instead of DeduplicateIds
    stock.OverwriteKernelspec,
    stock.OverwriteCells,
    stock.CheckCellMetadata,
]
c.Autograde.autograde_preprocessors = [
    ours.RobustExecute,
    stock.IgnorePattern,
    ClearMetadataPreprocessor,
    ours.StillPictures,
    stock.LimitOutput,
    ours.LimitChars,
    stock.SaveAutoGrades,
    stock.AssignLatePenalties,
    stock.CheckCellMetadata,
]
c.GenerateFeedback.preprocessors = [
    stock.GetGrades,
    ours.HideHiddenTests,
    CSSHTMLHeaderPreprocessor,
]
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = r"(?s)."  # a warning on stderr is no reason for 0 points
c.Execute.timeout = 120
c.Execute.iopub_timeout = 30
c.Execute.startup_timeout = 120
c.LimitOutput.max_lines = 200
c.LimitOutput.max_traceback = 30
