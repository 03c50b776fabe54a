"""nbgrader preprocessors that the stock pipeline lacks; nbgrader_config.py puts them in their places.

Each mends one thing that was seen to go wrong: see docs/GRADING.md, "What we changed
in nbgrader".
"""

import os
import re

import nbformat
from nbclient.exceptions import CellControlSignal, DeadKernelError
from nbconvert.filters import strip_ansi
from nbformat import NotebookNode
from nbgrader.api import Gradebook, SourceCell
from nbgrader.preprocessors import Execute, NbGraderPreprocessor
from traitlets import Integer, Unicode

HIDDEN = re.compile(
    r"^ *### BEGIN HIDDEN TESTS\n(.*?)^ *### END HIDDEN TESTS *\n?", re.S | re.M
)
WIDGET = "application/vnd.jupyter.widget-view+json"
DEFINITION = re.compile(r"^(?=@|def |class )", re.M)


class ClearNoise(NbGraderPreprocessor):
    """Release: keep the metadata that nbgrader needs and drop the rest (widget state holds the solution's pictures)."""

    def preprocess(
        self, nb: NotebookNode, resources: dict
    ) -> tuple[NotebookNode, dict]:
        for key in set(nb.metadata) - {"kernelspec", "language_info"}:
            del nb.metadata[key]
        for cell in nb.cells:
            for key in set(cell.metadata) - {"nbgrader", "deletable", "editable"}:
                del cell.metadata[key]
        return nb, resources


class RepairCells(NbGraderPreprocessor):
    """Autograde, in place of DeduplicateIds: every released cell once, with the flags and points of its release.

    Stock nbgrader leaves a duplicated cell with empty metadata, and that stops the
    grading of the whole class (nbgrader #1083). A cell whose metadata is gone is
    known by its id, which the build takes from its name.
    """

    def preprocess(
        self, nb: NotebookNode, resources: dict
    ) -> tuple[NotebookNode, dict]:
        info = resources["nbgrader"]
        with Gradebook(info["db_url"]) as gradebook:
            released = gradebook.find_notebook(info["notebook"], info["assignment"])
            sources = {source.name: source for source in released.source_cells}
            points = {cell.name: cell.max_score for cell in released.grade_cells}
            written = {cell.name for cell in released.solution_cells}
            found = self._found(nb, sources)
            self._put_back_missing(nb, sources, points, found)
            for name, cell in found.items():
                cell.metadata["nbgrader"] = _metadata(
                    sources[name], points.get(name), name in written
                )
        return nb, resources

    def _found(self, nb: NotebookNode, sources: dict) -> dict[str, NotebookNode]:
        """One cell for each name; all nbgrader metadata is taken off."""
        copies: dict[str, list[NotebookNode]] = {}
        for cell in nb.cells:
            meta = cell.metadata.pop("nbgrader", None)
            name = meta.get("grade_id") if isinstance(meta, dict) else None
            if not isinstance(name, str) or name not in sources:
                name = cell.get("id")
            if name in sources:
                copies.setdefault(name, []).append(cell)
        return {
            name: _the_one_that_counts(cells, sources[name])
            for name, cells in copies.items()
        }

    def _put_back_missing(
        self, nb: NotebookNode, sources: dict, points: dict, found: dict
    ) -> None:
        """Each behind the released cell before it. If no cell is known any more, at the end."""
        known = bool(found)
        place = min(
            (_index(nb, cell) for cell in found.values()), default=len(nb.cells)
        )
        for name, source in sources.items():
            if name in found:
                place = _index(nb, found[name]) + 1
                continue
            cell = _missing_cell(source, graded=name in points)
            if cell.source and (known or name in points):
                self.log.warning(
                    "Cell %r was missing from the submission and is put back", name
                )
                nb.cells.insert(place, cell)
                place += 1
            if name in points:
                found[name] = cell


def _the_one_that_counts(
    copies: list[NotebookNode], source: SourceCell
) -> NotebookNode:
    """The last copy that was written in; of a check, the last, which stands behind its exercise."""
    changed = [cell for cell in copies if cell.source != source.source]
    return (copies if source.locked or not changed else changed)[-1]


def _index(nb: NotebookNode, wanted: NotebookNode) -> int:
    return next(index for index, cell in enumerate(nb.cells) if cell is wanted)


def _missing_cell(source: SourceCell, graded: bool) -> NotebookNode:
    """A check as it was; a question with a note; of an exercise only its imports, which later cells may need."""
    if source.cell_type == "markdown":
        note = "(This cell was missing from the submission. Was the question answered elsewhere?)\n\n"
        return nbformat.v4.new_markdown_cell(note + source.source)
    text = (
        source.source
        if graded
        else DEFINITION.split(source.source, maxsplit=1)[0].strip()
    )
    return nbformat.v4.new_code_cell(text)


def _metadata(source: SourceCell, points: float | None, written: bool) -> NotebookNode:
    flags = {
        "grade": points is not None,
        "solution": written,
        "locked": source.locked,
        "task": False,
    }
    known = {
        "schema_version": 3,
        "grade_id": source.name,
        "cell_type": source.cell_type,
        **flags,
    }
    return NotebookNode(known if points is None else {**known, "points": points})


class RobustExecute(Execute):
    """Autograde: a dead or stuck kernel costs the cells after it, not the whole submission.

    The time profile is set here, for these kernels alone: JupyterLab reads
    nbgrader_config.py as well.
    """

    profile = Unicode(
        "quick", help="the lessons' time profile; marks do not depend on it"
    ).tag(config=True)

    def preprocess(self, nb, resources, km=None):
        self._stopped = ""
        before = os.environ.get("COURSE_PROFILE")
        os.environ["COURSE_PROFILE"] = self.profile
        try:
            return super().preprocess(nb, resources, km)
        finally:
            del os.environ["COURSE_PROFILE"]
            if before is not None:
                os.environ["COURSE_PROFILE"] = before

    def preprocess_cell(self, cell, resources, index):
        if cell.cell_type != "code":
            return cell, resources
        if self._stopped:
            cell.outputs = [_error("NotRun", f"not run, because {self._stopped}")]
            return cell, resources
        try:
            return super().preprocess_cell(cell, resources, index)
        except (DeadKernelError, CellControlSignal) as error:
            dead = isinstance(error, DeadKernelError)
            what = "the kernel died" if dead else "the kernel did not answer in time"
            self._stopped = f"{what} in cell {index}"
            self.log.warning("%s; the cells behind it are not run", self._stopped)
            cell.outputs.append(_error(type(error).__name__, self._stopped))
            return cell, resources


class StillPictures(NbGraderPreprocessor):
    """Autograde: a feedback page has no kernel and shows nothing for a live widget; its still picture it shows."""

    def preprocess(self, nb, resources):
        nb.metadata.pop("widgets", None)
        return super().preprocess(nb, resources)

    def preprocess_cell(self, cell, resources, index):
        for output in cell.get("outputs", []):
            if len(output.get("data", {})) > 1:
                output.data.pop(WIDGET, None)
        return cell, resources


class LimitChars(NbGraderPreprocessor):
    """Autograde: stock LimitOutput counts lines, and one line can hold fifty megabytes."""

    max_chars = Integer(20_000, help="longest text kept of one output").tag(config=True)
    max_rich = Integer(2_000_000, help="longest picture (base64) or page kept").tag(
        config=True
    )

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
            limit = self.max_chars if mime == "text/plain" else self.max_rich
            if len(str(data[mime])) > limit:
                del data[mime]
                data.setdefault("text/plain", "(output too long to keep)")

    def _cut(self, text: str) -> str:
        return (
            text
            if len(text) <= self.max_chars
            else text[: self.max_chars] + "\n… (cut here)\n"
        )


class HideHiddenTests(NbGraderPreprocessor):
    """Feedback: neither the hidden lines nor a trace that quotes them (nbgrader #1363)."""

    def preprocess_cell(self, cell, resources, index):
        if cell.cell_type != "code" or not HIDDEN.search(cell.source):
            return cell, resources
        hidden = [
            line.strip()
            for block in HIDDEN.findall(cell.source)
            for line in block.splitlines()
        ]
        cell.source = HIDDEN.sub("# (the same check on other inputs)\n", cell.source)
        for output in cell.outputs:
            if output.output_type == "error":
                trace = strip_ansi("\n".join(output.traceback))
                if any(line and line in trace for line in hidden):
                    output.traceback = [f"{output.ename}: {output.evalue}"]
        return cell, resources


def _error(name: str, text: str) -> NotebookNode:
    return nbformat.v4.new_output(
        "error", ename=name, evalue=text, traceback=[f"{name}: {text}"]
    )
