"""Does a student notebook give an answer away? Compares normalised syntax trees and squeezed text.

Every cell is taken apart into the program text that somebody could read in it: code, comments, code
blocks of any kind in prose. An answer is found whole, under other names, in a larger function, as
loose steps spread over cells, or as text. Left out: paraphrases; an answer in other operations.
"""

import ast
import copy
import html
import re

from nbformat import NotebookNode

MARKERS = re.compile(r"(BEGIN|END) (SOLUTION|HIDDEN TESTS|MARK SCHEME)")
BLOCKS = re.compile(
    r"(?:```|~~~)[^\n]*\n(.*?)(?:```|~~~)|<(?:pre|code)[^>]*>(.*?)</(?:pre|code)>|`([^`\n]+)`",
    re.S,
)
INDENTED = re.compile(r"(?:^(?: {4}|\t).*\n?)+", re.M)
READERS = re.compile(r"getsource|\?\?\w|%psource|%pycat|%load ")
SMALLEST = 9  # syntax nodes; anything shorter ("x.sum(-1)") stands in every honest cell
REACH = 3  # how far apart the steps of an answer may lie, in steps of its own length


class _Normalise(ast.NodeTransformer):
    """Names become n0, n1 … in order of appearance; annotations and the kind of the last step vanish."""

    def __init__(self):
        self.names: dict[str, str] = {}

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(
            self.names.setdefault(node.id, f"n{len(self.names)}"), ast.Load()
        )

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant(
            float(node.value) if isinstance(node.value, int) else node.value
        )


def _value(statement: ast.stmt) -> ast.AST:
    """`return x`, `y = x`, `y: T = x` and `x` all show x."""
    kinds = ast.Return | ast.Assign | ast.AnnAssign | ast.Expr
    shown = isinstance(statement, kinds) and statement.value is not None
    return statement.value if shown else statement


def _normal(node: ast.AST) -> str:
    """One step, with names of its own."""
    return ast.dump(_Normalise().visit(copy.deepcopy(node)))


def _size(node: ast.AST) -> int:
    return sum(1 for _ in ast.walk(node))


def _without_docstrings(body: list[ast.stmt]) -> list[ast.stmt]:
    return [
        s
        for s in body
        if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))
    ]


class Answer:
    """What must not be found: the steps of a body, in their order."""

    def __init__(self, name: str, region: str):
        self.name = name
        body = _without_docstrings(_parsed_region(region))
        self.steps = [_normal(_value(step)) for step in body]
        self.large = sum(_size(step) for step in body) > SMALLEST
        # text is compared only where it is long enough to be no accident
        lines = [_squeeze(line.partition("#")[0]) for line in region.splitlines()]
        self.lines = [line for line in lines if line]
        self.long = sum(map(len, self.lines)) >= 40

    def in_block(self, block: list[str]) -> bool:
        """Are all steps there, in order, with not too much between them?"""
        if not self.large:
            return False
        reach = REACH * len(self.steps) + 5
        starts = (i for i, step in enumerate(block) if step == self.steps[0])
        return any(_in_order(self.steps, block[i : i + reach]) for i in starts)

    def in_text(self, text: str) -> bool:
        squeezed = _squeeze(html.unescape(text))
        return self.long and all(line in squeezed for line in self.lines)


def _in_order(steps: list[str], block: list[str]) -> bool:
    rest = iter(block)
    return all(any(step == other for other in rest) for step in steps)


def _squeeze(text: str) -> str:
    return re.sub(r"[\s`>()]+", "", text)


def _parsed_region(region: str) -> list[ast.stmt]:
    lines = region.splitlines()
    margin = min((len(s) - len(s.lstrip()) for s in lines if s.strip()), default=0)
    shifted = "\n".join("    " + line[margin:] for line in lines)
    return ast.parse(f"def answer():\n{shifted}").body[0].body


def snippets(cell: NotebookNode) -> list[str]:
    """Every piece of program text that somebody could read in a cell."""
    if cell.cell_type == "code":
        comments = re.findall(r"^\s*# ?(.*)$", cell.source, re.M)
        return [cell.source, "\n".join(comments)]
    found = ["".join(groups) for groups in BLOCKS.findall(cell.source)]
    found += INDENTED.findall(cell.source)
    return [
        cell.source,
        *(
            re.sub(r"^\s*(>>>|\.\.\.) ?", "", html.unescape(t), flags=re.M)
            for t in found
        ),
    ]


def blocks(source: str) -> list[list[str]]:
    """The steps of every statement list and every lambda in a source, innermost ones too."""
    margin = re.match(r"[ \t]*", source)[0]
    try:
        tree = ast.parse(
            "\n".join(line.removeprefix(margin) for line in source.splitlines())
        )
    except SyntaxError:
        return []
    found = []
    for node in ast.walk(tree):
        for _, field in ast.iter_fields(node):
            if isinstance(field, list) and field and isinstance(field[0], ast.stmt):
                found.append(
                    [_normal(_value(step)) for step in _without_docstrings(field)]
                )
        if isinstance(node, ast.expr) and _size(node) >= SMALLEST:
            found.append([_normal(node)])
    return found


def answers_of(solution: NotebookNode) -> list[Answer]:
    """The bodies between solution markers of every exercise cell of a solution notebook."""
    found = []
    for cell in solution.cells:
        meta = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code" and meta.get("solution"):
            regions = re.findall(
                r"^ *### BEGIN SOLUTION\n(.*?)^ *### END SOLUTION",
                cell.source,
                re.S | re.M,
            )
            found += [Answer(meta["grade_id"], region) for region in regions]
    return found


def model_texts(solution: NotebookNode) -> dict[str, str]:
    """The good answers to written questions."""
    found = {}
    for cell in solution.cells:
        if cell.cell_type == "markdown" and MARKERS.search(cell.source):
            inside = MARKERS.split(cell.source)[3]
            found[cell.metadata.nbgrader.grade_id] = _squeeze(inside.strip("<>!- \n"))
    return found


def leaks(student: NotebookNode, solution: NotebookNode) -> list[str]:
    """One sentence for each thing in a student notebook that should not be there."""
    found, answers, models = [], answers_of(solution), model_texts(solution)
    loose: list[str] = []  # the top-level steps of all code cells, one after the other
    for number, cell in enumerate(student.cells):
        where = f"cell {number} ({cell.get('id')})"
        if MARKERS.search(cell.source):
            found.append(
                f"{where} still holds a solution, hidden test or mark scheme marker"
            )
        if cell.get("outputs") or cell.get("execution_count"):
            found.append(f"{where} still holds an output")
        if cell.get("attachments"):
            found.append(f"{where} has an attachment")
        if cell.cell_type == "code" and READERS.search(cell.source):
            found.append(f"{where} prints source code")
        inside = [block for text in snippets(cell) for block in blocks(text)]
        for answer in answers:
            if any(answer.in_block(block) for block in inside) or answer.in_text(
                cell.source
            ):
                found.append(f"{where} gives away the answer of {answer.name}")
        for name, model in models.items():
            if model[:60] in _squeeze(cell.source):
                found.append(f"{where} holds the model answer of {name}")
        if cell.cell_type == "code":
            loose += next(iter(blocks(cell.source)), [])
    found += [
        f"the cells together give away {a.name}" for a in answers if a.in_block(loose)
    ]
    if extra := set(student.metadata) - {"kernelspec", "language_info"}:
        found.append(f"notebook metadata still holds {', '.join(sorted(extra))}")
    return found
