"""nbgrader preprocessors that the stock pipeline lacks; nbgrader_config.py puts them in their places.

Each mends one thing that was seen to go wrong: see docs/GRADING.md, "What we changed in nbgrader".
"""

import re

import nbformat
from nbclient.exceptions import CellControlSignal, DeadKernelError
from nbconvert.filters import strip_ansi
from nbformat import NotebookNode
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.preprocessors import Execute, NbGraderPreprocessor
from traitlets import Integer

HIDDEN = re.compile(r"^ *### BEGIN HIDDEN TESTS\n(.*?)^ *### END HIDDEN TESTS *\n?", re.S | re.M)


class ClearNoise(NbGraderPreprocessor):
    """Release: keep the metadata that nbgrader needs and drop the rest (widget state holds the solution's pictures)."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        for key in set(nb.metadata) - {"kernelspec", "language_info"}:
            del nb.metadata[key]
        for cell in nb.cells:
            for key in set(cell.metadata) - {"nbgrader", "deletable", "editable"}:
                del cell.metadata[key]
        return nb, resources


class RepairMetadata(NbGraderPreprocessor):
    """Autograde: after DeduplicateIds, give known cells back the flags and points they were released with.

    A duplicated cell is left with empty metadata, which stops the grading of the whole class (nbgrader #1083).
    """

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        info = resources["nbgrader"]
        with Gradebook(info["db_url"]) as gradebook:
            notebook = gradebook.find_notebook(info["notebook"], info["assignment"])
            points = {cell.name: cell.max_score for cell in notebook.grade_cells}
            solutions = {cell.name for cell in notebook.solution_cells}
            for cell in nb.cells:
                if "nbgrader" in cell.metadata:
                    self._repair(cell, gradebook, info, points, solutions)
        return nb, resources

    def _repair(
        self, cell: NotebookNode, gradebook: Gradebook, info: dict, points: dict, solutions: set
    ) -> None:
        meta = cell.metadata.nbgrader
        name = meta.get("grade_id")
        try:
            source = gradebook.find_source_cell(name, info["notebook"], info["assignment"])
        except MissingEntry:
            del cell.metadata["nbgrader"]
            return
        meta.update(grade=name in points, solution=name in solutions, locked=source.locked, task=False)
        meta.setdefault("schema_version", 3)
        if name in points:
            meta["points"] = points[name]


class RobustExecute(Execute):
    """Autograde: a dead or stuck kernel costs the cells after it, not the whole submission."""

    def preprocess(self, nb, resources, km=None):
        self._stopped = ""
        return super().preprocess(nb, resources, km)

    def preprocess_cell(self, cell, resources, index):
        if cell.cell_type != "code":
            return cell, resources
        if self._stopped:
            cell.outputs = [_error("NotRun", f"not run, because {self._stopped}")]
            return cell, resources
        try:
            return super().preprocess_cell(cell, resources, index)
        except (DeadKernelError, CellControlSignal) as error:
            what = (
                "the kernel died"
                if isinstance(error, DeadKernelError)
                else "the kernel did not answer in time"
            )
            self._stopped = f"{what} in cell {index}"
            cell.outputs.append(_error(type(error).__name__, self._stopped))
            return cell, resources


class LimitChars(NbGraderPreprocessor):
    """Autograde: stock LimitOutput counts lines, and one line can hold fifty megabytes."""

    max_chars = Integer(20_000, help="longest text kept of one output").tag(config=True)
    max_image = Integer(2_000_000, help="longest base64 image kept").tag(config=True)

    def preprocess_cell(self, cell, resources, index):
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = self._cut(output.text)
            elif output.output_type == "error":
                output.evalue = self._cut(output.evalue)
                output.traceback = [self._cut(line) for line in output.traceback]
            else:
                self._limit_data(output.data)
        return cell, resources

    def _limit_data(self, data: NotebookNode) -> None:
        for mime in list(data):
            limit = self.max_image if mime.startswith("image/") else self.max_chars
            if len(str(data[mime])) > limit:
                del data[mime]
        data.setdefault("text/plain", "(output too long to keep)")

    def _cut(self, text: str) -> str:
        return text if len(text) <= self.max_chars else text[: self.max_chars] + "\n… (cut here)\n"


class HideHiddenTests(NbGraderPreprocessor):
    """Feedback: neither the hidden lines nor a trace that quotes them (nbgrader #1363)."""

    def preprocess_cell(self, cell, resources, index):
        if cell.cell_type != "code" or not HIDDEN.search(cell.source):
            return cell, resources
        hidden = [line.strip() for block in HIDDEN.findall(cell.source) for line in block.splitlines()]
        cell.source = HIDDEN.sub("# (the same check on other inputs)\n", cell.source)
        for output in cell.outputs:
            if output.output_type == "error":
                trace = strip_ansi("\n".join(output.traceback))
                if any(line and line in trace for line in hidden):
                    output.traceback = [f"{output.ename}: {output.evalue}"]
        return cell, resources


def _error(name: str, text: str) -> NotebookNode:
    return nbformat.v4.new_output("error", ename=name, evalue=text, traceback=[f"{name}: {text}"])
