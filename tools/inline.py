"""An exercise cell's one import line becomes the library's own text, ready to be blanked.

`from course_lib.masks import masked_mean` turns into that function: imports it needs, signature, docstring
and guard asserts outside, the rest of the body between nbgrader's solution markers. Exercise, solution and
importable implementation are therefore one text. A name that cannot be resolved stops the build.
"""

import ast
import builtins
import itertools
import re
import symtable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


class BuildError(Exception):
    """The lesson cannot be built; the message says what to change."""


@dataclass
class Bound:
    """What the notebook's ordinary cells have imported so far: name -> where it comes from ("torch.Tensor").

    Exercise cells do not count: one with a syntax error must not take another one's imports along.
    """

    names: dict[str, str] = field(default_factory=dict)

    def add_cell(self, source: str) -> None:
        for node in ast.parse(source).body:
            self.names.update(imported_names(node))


def module_path(module: str) -> Path:
    path = ROOT / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imported_names(node: ast.stmt) -> dict[str, str]:
    """name -> origin for an import statement, nothing for any other statement."""
    if isinstance(node, ast.Import):
        return {
            alias.asname or alias.name.partition(".")[0]: alias.name
            for alias in node.names
        }
    if isinstance(node, ast.ImportFrom):
        if node.level:
            raise BuildError(
                f"write `from course_lib.… import`, not a relative import (line {node.lineno})"
            )
        return {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for alias in node.names
        }
    return {}


def origins(module: str) -> dict[str, str]:
    """Where every top-level name of a module comes from: an import, or the module itself."""
    found = {}
    for node in ast.parse(module_path(module).read_text()).body:
        found.update(imported_names(node))
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = f"{module}.{node.name}"
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found.update(
                {t.id: f"{module}.{t.id}" for t in targets if isinstance(t, ast.Name)}
            )
    return found


def free_names(source: str, own: str, known: dict[str, str]) -> list[str]:
    """The global names that a definition uses, in order of the alphabet; builtins only if the module hides them."""
    names: set[str] = set()

    def visit(table: symtable.SymbolTable, top: bool) -> None:
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (top or symbol.is_global()):
                names.add(symbol.get_name())
        for child in table.get_children():
            visit(child, top=False)

    visit(symtable.symtable(source, "<answer>", "exec"), top=True)
    names -= {own} | {name for name in names if name.startswith("__")}
    return sorted(n for n in names if n in known or not hasattr(builtins, n))


def import_lines(
    names: list[str], module: str, bound: Bound, answers: set[str]
) -> list[str]:
    """Import statements for what is not there yet. Earlier exercises are there: the learner's own."""
    known, plain, members = origins(module), [], {}
    for name in names:
        if name not in known:
            raise BuildError(
                f"{module}: the name {name!r} is used by an exercise but defined nowhere at top level"
            )
        origin = known[name]
        if origin in answers or bound.names.get(name) == origin:
            continue
        if name in bound.names:
            raise BuildError(
                f"{name!r} means {bound.names[name]} in the lesson, but {origin} in {module}"
            )
        parent, _, last = origin.rpartition(".")
        if parent and origin not in _plain_imports(module):
            members.setdefault(parent, []).append(
                last if last == name else f"{last} as {name}"
            )
        else:
            plain.append(
                f"import {origin}"
                if origin.partition(".")[0] == name
                else f"import {origin} as {name}"
            )
    return sorted(plain) + [
        f"from {parent} import {', '.join(sorted(m))}"
        for parent, m in sorted(members.items())
    ]


def _plain_imports(module: str) -> set[str]:
    tree = ast.parse(module_path(module).read_text())
    return {
        alias.name
        for node in tree.body
        if isinstance(node, ast.Import)
        for alias in node.names
    }


def _without_how(lines: list[str]) -> list[str]:
    """A docstring's paragraph that begins with "How:" gives the answer away; the stub does without it."""
    kept, dropping = [], False
    for line in lines:
        bare = line.strip()
        if re.match(r"r?\"\"\"\s*How:", bare):
            raise BuildError(
                "a docstring begins with what the function means, not with How:"
            )
        dropping = (dropping or bare.startswith("How:")) and bare not in ("", '"""')
        if not dropping and not (bare == "" and kept and kept[-1].strip() == ""):
            kept.append(line)  # of two blank lines in a row one stays
        elif dropping and bare.endswith(
            '"""'
        ):  # the paragraph's last line also ends the docstring
            kept.append(" " * (len(line) - len(line.lstrip())) + '"""')
            dropping = False
    closing = next((i for i, line in enumerate(kept) if i and line.strip() == '"""'), 0)
    if closing > 1 and not kept[closing - 1].strip():
        del kept[closing - 1]
    return kept


def _blanked(
    node: ast.FunctionDef, lines: list[str], keep: tuple[str, ...]
) -> list[str]:
    """The function's lines with everything but signature, docstring, guards and kept lines between markers."""
    body = node.body
    if body[0].lineno == node.lineno:
        raise BuildError(f"{node.name}: the body has to stand on lines of its own")
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    out, cursor = lines[first - 1 : body[0].lineno - 1], body[0].lineno
    if isinstance(body[0], ast.Expr) and isinstance(
        getattr(body[0], "value", None), ast.Constant
    ):
        out += _without_how(lines[body[0].lineno - 1 : body[0].end_lineno])
        cursor, body = body[0].end_lineno + 1, body[1:]
    guards = list(itertools.takewhile(lambda s: isinstance(s, ast.Assert), body))
    kept = [_kept(node, body, lines, prefix) for prefix in keep]
    indent, inside = " " * node.body[0].col_offset, False
    for statement in body:
        stays = statement in guards or statement in kept
        if inside == stays:
            out.append(indent + (END if stays else BEGIN))
            inside = not stays
        out += lines[cursor - 1 : statement.end_lineno]
        cursor = statement.end_lineno + 1
    if BEGIN not in "\n".join(out):
        raise BuildError(f"{node.name}: nothing of the body is left to write")
    return out + ([indent + END] if inside else [])


def _begins_a_line(node: ast.FunctionDef, lines: list[str], prefix: str) -> bool:
    return any(lines[s.lineno - 1].strip().startswith(prefix) for s in node.body)


def _kept(
    node: ast.FunctionDef, body: list[ast.stmt], lines: list[str], prefix: str
) -> ast.stmt:
    """The one statement of the body that begins with a prefix from keep=."""
    found = [s for s in body if lines[s.lineno - 1].strip().startswith(prefix)]
    if len(found) != 1:
        raise BuildError(
            f"{node.name}: keep={prefix!r} should begin one line of the body, and begins {len(found)}"
        )
    return found[0]


def must_compile(cell: str, name: str) -> None:
    """Both faces of an exercise cell are Python: with the solution, and with nbgrader's stub in its place."""
    stub = re.sub(
        rf"^( *){BEGIN}\n.*?{END}$",
        r"\1raise NotImplementedError",
        cell,
        flags=re.S | re.M,
    )
    for text in (cell, stub):
        try:
            compile(text, name, "exec")
        except SyntaxError as error:
            raise BuildError(
                f"the cell of {name} would not compile: {error}"
            ) from error


def definition(module: str, name: str) -> ast.stmt:
    for node in ast.parse(module_path(module).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
    raise BuildError(f"{module} has no function or class called {name!r} at top level")


def answer_cell(
    line: str,
    bound: Bound,
    answers: set[str],
    methods: tuple[str, ...] = (),
    keep: tuple[str, ...] = (),
) -> tuple[str, str]:
    """The exercise cell for one import line, and the origin ("course_lib.masks.masked_mean") of its answer."""
    statements = ast.parse(line).body
    if (
        len(statements) != 1
        or not isinstance(statements[0], ast.ImportFrom)
        or len(statements[0].names) != 1
    ):
        raise BuildError(
            f"an exercise cell holds one line `from module import name`, not: {line}"
        )
    module, name = statements[0].module, statements[0].names[0].name
    node = definition(module, name)
    lines = module_path(module).read_text().splitlines()
    start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    if isinstance(node, ast.FunctionDef):
        text = _blanked(node, lines, keep)
    else:
        text = _blanked_class(node, lines, methods, keep)
    source = "\n".join(lines[start - 1 : node.end_lineno])
    imports = import_lines(
        free_names(source, name, origins(module)), module, bound, answers
    )
    return "\n".join(
        [*imports, *([""] * 2 if imports else []), *text]
    ), f"{module}.{name}"


def _blanked_class(
    node: ast.ClassDef,
    lines: list[str],
    methods: tuple[str, ...],
    keep: tuple[str, ...],
) -> list[str]:
    functions = {
        item.name: item for item in node.body if isinstance(item, ast.FunctionDef)
    }
    if not methods or set(methods) - set(functions):
        raise BuildError(
            f'{node.name}: name the methods to write, e.g. methods="forward"; it has {sorted(functions)}'
        )
    kept = {
        name: tuple(p for p in keep if _begins_a_line(functions[name], lines, p))
        for name in methods
    }
    if idle := set(keep).difference(*kept.values()):
        raise BuildError(f"{node.name}: keep={idle} begins no line of {methods}")
    start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    out, cursor = [], start
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name in methods:
            first = min([item.lineno, *(d.lineno for d in item.decorator_list)])
            out += lines[cursor - 1 : first - 1]
            out += _blanked(item, lines, kept[item.name])
            cursor = item.end_lineno + 1
    return _without_how(out + lines[cursor - 1 : node.end_lineno])
