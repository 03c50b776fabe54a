"""A line that tells how far something is, where somebody can see it.

A notebook's output is updated, a terminal's line overwritten, and a file gets one
line at the end. Whoever shows the line says what it reads. Left out: bars,
percentages and guesses of the time that is left.
"""

import sys
import time
from collections.abc import Callable


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this code."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    return hasattr(shell, "kernel")


class ProgressLine:
    """One line that overwrites itself, and stays once, with its last words.

    words() is what the line reads now; it is called only when something is written.
    wanted: None shows the line in a notebook and in a terminal, and nowhere else.
    """

    def __init__(self, words: Callable[[], str], wanted: bool | None = None):
        self.words = words
        self.notebook, self.terminal = in_notebook(), sys.stderr.isatty()
        self.wanted = (self.notebook or self.terminal) if wanted is None else wanted
        self.written = 0.0  # when, on the clock
        self.handle = None  # of the notebook's output

    def show(self) -> None:
        """Write the line anew, at most five times a second."""
        now = time.perf_counter()
        if self.wanted and now - self.written > 0.2:
            self.written = now
            self.write()

    def write(self) -> None:
        """A notebook's output is updated, a terminal's line overwritten."""
        if self.notebook:
            from IPython.display import display  # only where it has been loaded

            text = {"text/plain": self.words()}
            if self.handle is None:
                self.handle = display(text, raw=True, display_id=True)
            else:
                self.handle.update(text, raw=True)
        elif self.terminal:
            print(f"\r{self.words()}\x1b[K", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the last words on the screen."""
        if self.wanted and (self.notebook or self.terminal):
            self.write()
        if self.wanted and not self.notebook:
            print("" if self.terminal else self.words(), file=sys.stderr)
