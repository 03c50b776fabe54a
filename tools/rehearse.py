"""Run a lesson's code cells in one process, without checks: `python -m tools.rehearse 01`.

For authors, while the text is in the making: no kernel, no build, pictures as files in
build/rehearsal/. Exercise cells are run as they stand, so the library answers them.
"""

import argparse
import ast
import time
from pathlib import Path

from course_lib.plotting.style import Picture
from course_lib.widgets import controls
from tools.inline import ROOT
from tools.lessons import lessons, read

LEFT_OUT = ("checks.", "desk.check_mine(")  # graded cells, and the look at a saved file


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("lesson", help="its number")
    asked = ask.parse_args()
    found = [item for item in lessons() if item.number == asked.lesson]
    if not found:
        raise SystemExit(f"There is no lesson {asked.lesson} in lessons/.")
    folder = ROOT / "build" / "rehearsal" / asked.lesson
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    rehearse([c.source for c in read(found[0]).cells if c.cell_type == "code"], folder)


def rehearse(cells: list[str], folder: Path) -> None:
    """Run the cells in one namespace; print what they show, save their pictures."""
    stage = Stage(folder)
    controls.explore, before = stage.explore, controls.explore
    namespace: dict = {"__name__": "rehearsal"}
    try:
        for number, source in enumerate(cells):
            if any(word in source for word in LEFT_OUT):
                continue
            started = time.perf_counter()
            stage.show(run(source, f"cell {number}", namespace))
            if (spent := time.perf_counter() - started) > 1:
                print(f"    ({spent:.0f} s)")
    finally:
        controls.explore = before


class Stage:
    """Where pictures go to files and everything else to the terminal."""

    def __init__(self, folder: Path):
        self.folder, self.pictures = folder, 0

    def show(self, value: object) -> None:
        if isinstance(value, Picture):
            self.pictures += 1
            (self.folder / f"{self.pictures:02d}.png").write_bytes(value.png)
            print(f"    picture {self.pictures:02d}: {value.alt}")
        elif isinstance(value, dict) and "text/plain" in value:  # of a live control
            print(value["text/plain"])
        elif value is not None:
            print(repr(value))

    def explore(self, draw, **moved) -> None:
        """A control's first position stands for all."""
        self.show(draw(**{name: control.value for name, control in moved.items()}))


def run(source: str, name: str, namespace: dict) -> object:
    """Run one cell; the value of its last line if that is an expression, as in a notebook."""
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), name, "exec"), namespace)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), name, "eval"), namespace)


if __name__ == "__main__":
    main()
