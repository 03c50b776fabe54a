"""Does a student notebook give an answer away? Compares normalised syntax trees and normalised text."""

import ast
import re

from nbformat import NotebookNode

MARKERS = re.compile(r"(BEGIN|END) (SOLUTION|HIDDEN TESTS|MARK SCHEME)")
FENCE = re.compile(r"```\w*\n(.*?)```|`([^`\n]+)`", re.S)
SMALLEST_EXPRESSION = (
    9  # syntax nodes; anything shorter ("x.sum(-1)") stands in every honest cell
)


class _Normalise(ast.NodeTransformer):
    """Names become n0, n1 … in order of appearance; annotations vanish."""

    def __init__(self):
        self.names: dict[str, str] = {}

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(
            self.names.setdefault(node.id, f"n{len(self.names)}"), ast.Load()
        )

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        value = self.visit(node.value) if node.value else ast.Constant(None)
        return ast.Assign([self.visit(node.target)], value)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant(
            float(node.value) if isinstance(node.value, int) else node.value
        )


def _normal(nodes: list[ast.AST]) -> str:
    normalise = _Normalise()
    return "\n".join(
        ast.dump(normalise.visit(ast.parse(ast.unparse(node)))) for node in nodes
    )


def _docless(body: list[ast.stmt]) -> list[ast.stmt]:
    """Without docstrings, guards and the like: what a learner writes."""
    return [
        s
        for s in body
        if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))
    ]


class Answer:
    """What must not be found: the body's statements in a row, or its one expression."""

    def __init__(self, name: str, body: list[ast.stmt]):
        self.name = name
        self.body = body
        self.statements = _normal(body)
        value = (
            body[0].value
            if len(body) == 1 and isinstance(body[0], ast.Return)
            else None
        )
        large = (
            value is not None and sum(1 for _ in ast.walk(value)) >= SMALLEST_EXPRESSION
        )
        self.expression = _normal([ast.Expr(value)]) if large else None
        self.text = [_squeeze(ast.unparse(statement)) for statement in body]

    def in_code(self, source: str) -> bool:
        try:
            tree = ast.parse(source)
        except SyntaxError:
            return False
        return self._in_tree(tree)

    def _in_tree(self, tree: ast.AST) -> bool:
        for node in ast.walk(tree):
            for _, block in ast.iter_fields(node):
                if (
                    isinstance(block, list)
                    and block
                    and isinstance(block[0], ast.stmt)
                    and self._in_block(block)
                ):
                    return True
            if (
                self.expression
                and isinstance(node, ast.expr)
                and _normal([ast.Expr(node)]) == self.expression
            ):
                return True
        return False

    def _in_block(self, block: list[ast.stmt]) -> bool:
        block, size = _docless(block), len(self.body)
        runs = (block[i : i + size] for i in range(len(block) - size + 1))
        return any(_normal(run) == self.statements for run in runs)

    def in_text(self, text: str) -> bool:
        squeezed = _squeeze(text)
        long_enough = sum(map(len, self.text)) >= 20
        return long_enough and all(line in squeezed for line in self.text)


def _squeeze(text: str) -> str:
    return re.sub(r"[\s`>]+", "", text)


def answers_of(solution: NotebookNode) -> list[Answer]:
    """The bodies between solution markers of every exercise cell of a solution notebook."""
    found = []
    for cell in solution.cells:
        meta = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code" and meta.get("solution"):
            for region in re.findall(
                r"^ *### BEGIN SOLUTION\n(.*?)^ *### END SOLUTION",
                cell.source,
                re.S | re.M,
            ):
                found.append(Answer(meta["grade_id"], _statements(region)))
    return found


def _statements(region: str) -> list[ast.stmt]:
    indented = "def answer():\n" + "\n".join(
        " " * 4 + line for line in region.splitlines()
    )
    body = (
        ast.parse(indented if region[:1] != " " else "def answer():\n" + region)
        .body[0]
        .body
    )
    return _docless(body)


def leaks(student: NotebookNode, solution: NotebookNode) -> list[str]:
    """One sentence for each thing in a student notebook that should not be there."""
    found = []
    answers = answers_of(solution)
    for number, cell in enumerate(student.cells):
        where = f"cell {number} ({cell.get('id')})"
        if MARKERS.search(cell.source):
            found.append(
                f"{where} still holds a solution, hidden test or mark scheme marker"
            )
        if cell.cell_type == "code" and (
            cell.get("outputs") or cell.get("execution_count")
        ):
            found.append(f"{where} still holds an output")
        if cell.get("attachments"):
            found.append(f"{where} has an attachment")
        snippets = (
            [cell.source]
            if cell.cell_type == "code"
            else [a or b for a, b in FENCE.findall(cell.source)]
        )
        for answer in answers:
            if any(answer.in_code(snippet) for snippet in snippets) or answer.in_text(
                cell.source
            ):
                found.append(f"{where} gives away the answer of {answer.name}")
    extra = set(student.metadata) - {"kernelspec", "language_info"}
    if extra:
        found.append(f"notebook metadata still holds {', '.join(sorted(extra))}")
    return found
