"""A rehearsal runs what a notebook would run, shows it, and leaves the controls as they were."""

from course_lib.plotting import start_here as plots
from course_lib.widgets import controls
from tools import rehearse


def test_cells_share_names_show_their_last_line_and_leave_pictures_behind(
    tmp_path, capsys
):
    before = controls.explore
    cells = [
        "x = 20",
        "checks.start_here.softmax(x)",
        "x + 1",
        "y = 3\nprint(x * y)",
        "from course_lib.plotting import start_here as plots\n"
        "plots.cuts(['a'], [1.0], 1.0)",
        "from course_lib.widgets import controls\n"
        "slider = controls.slider(0.5, 0.0, 1.0, 0.1, 'x')\n"
        "controls.explore(lambda x: plots.cuts(['a'], [x], 1.0), x=slider)",
    ]
    rehearse.rehearse(cells, tmp_path)
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["21", "60"]
    assert "a: 1.00" in said[2]
    assert "a: 0.50" in said[3]
    first = (tmp_path / "01.png").read_bytes()
    assert first == plots.cuts(["a"], [1.0], 1.0).png
    assert (tmp_path / "02.png").read_bytes() != first
    assert controls.explore is before
