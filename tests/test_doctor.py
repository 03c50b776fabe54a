"""`make doctor` names each problem with its cure, and says so when there is none."""

import re
from collections import namedtuple

import nbformat
import pytest
import torch

from course_lib import desk, doctor, machine
from course_lib.pretrained import checkpoints, loading
from tools.lessons import lessons

NAME = "00_start_here"
LOOKS = ("_python", "_packages", "_device", "_memory", "_disk", "_models", "_weights", "_notebooks")  # fmt: skip


@pytest.fixture
def own_desk(tmp_path, monkeypatch):
    monkeypatch.setattr(desk, "DESK", tmp_path / "work")
    path = desk.mine(NAME)
    desk.write_whole(path, desk.released(NAME).read_text(encoding="utf-8"))
    return path


def wrong(look: str) -> list[str]:
    """The problems that one look finds."""
    found = doctor._looked(getattr(doctor, look))
    return [problem for one in found for problem in one.problems]


def said(look: str) -> str:
    return doctor.text(doctor._looked(getattr(doctor, look)))


def test_a_sound_course_has_no_problem_and_every_part_is_named(own_desk, capsys):
    assert doctor.main([]) == 0
    out = capsys.readouterr().out
    assert out.endswith("No problem found.\n")
    for what in ("python", "torch", "transformers", "jupyterlab", "course_lib", "device", "memory", "disk", "SmolLM2", "MiniLM", "course's models", "notebooks"):  # fmt: skip
        assert re.search(rf"^{what} +\S", out, re.M), what
    assert "notebooks       1 in " in out
    assert max(map(len, out.splitlines())) <= desk.WIDTH or str(desk.DESK) in out


def test_a_problem_gives_status_1_and_one_line_of_its_own(
    own_desk, capsys, monkeypatch
):
    for look in LOOKS:
        if look != "_notebooks":
            monkeypatch.setattr(doctor, look, lambda: iter(()))
    own_desk.write_text("{")
    assert doctor.main([]) == 1
    out = capsys.readouterr().out
    assert "1 problem:\n- 00_start_here.ipynb is damaged" in out
    assert "`make update` sets it aside" in out
    assert doctor.problems() == wrong("_notebooks")
    assert doctor.text() == out.rstrip("\n"), "the same text as a function"


def test_a_notebook_of_another_name_is_told_by_its_old_one(own_desk):
    own_desk.rename(own_desk.with_name("00_start_here (1).ipynb"))
    assert wrong("_notebooks") == [
        "00_start_here (1).ipynb is not a lesson's name. If it is yours: 00_start_here.ipynb."
    ]


def test_an_empty_desk_is_no_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(desk, "DESK", tmp_path / "work")
    assert wrong("_notebooks") == wrong("_disk") == []
    assert "none yet; `make lab`" in said("_notebooks")
    assert not desk.DESK.exists()


def test_a_missing_package_is_told_and_a_teachers_package_may_be_missing(monkeypatch):
    installed = {"torch": "2.13.0", "course_lib": doctor._version("course_lib")}
    monkeypatch.setattr(doctor, "_version", installed.get)
    assert wrong("_packages") == [
        "transformers is not installed. `make lab` installs what is missing.",
        "jupyterlab is not installed. `make lab` installs what is missing.",
    ]
    assert "nbgrader        not installed; only teachers need it" in said("_packages")


def test_another_torch_or_an_older_course_lib_is_told(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda _: "1.0")
    first, second = wrong("_packages")
    assert re.match(
        r"torch is 1\.0, the course needs \d+\.\d+\.\d+\. `make lab`", first
    )
    assert re.match(r"course_lib is 1\.0, this folder holds \d+\.\d+", second)


@pytest.mark.parametrize(("free", "problems"), [(1.0, 1), (8.0, 0), (None, 0)])
def test_too_little_memory_is_told(monkeypatch, free, problems):
    monkeypatch.setattr(machine, "memory", lambda: (16.0, free))
    assert len(wrong("_memory")) == problems


def test_memory_that_is_not_known_is_no_problem(monkeypatch):
    monkeypatch.setattr(machine, "memory", lambda: (None, None))
    assert wrong("_memory") == []
    assert "unknown on this system" in said("_memory")


def test_every_lesson_keeps_below_the_memory_that_is_asked_for():
    for lesson in lessons():
        if lesson.solution.exists():
            course = nbformat.read(lesson.solution, 4).metadata["course"]
            assert course["measured"]["memory_mb"] * 1024**2 / 1e9 < doctor.MEMORY


def test_a_full_disk_is_told(own_desk, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage(1e12, 1e12, 2e7))
    (problem,) = wrong("_disk")
    assert problem.startswith("Only 0.02 GB of disk are free")
    assert "Delete something" in problem


def test_a_desk_that_cannot_be_written_is_told(own_desk, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    (problem,) = wrong("_disk")
    assert "cannot be written: Permission denied. Give yourself the right" in problem


def test_looking_at_the_disk_leaves_nothing_behind(own_desk):
    before = list(desk.DESK.rglob("*"))
    assert wrong("_disk") == []
    assert list(desk.DESK.rglob("*")) == before


def test_a_time_profile_that_does_not_exist_is_told(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "fast")
    assert wrong("_device") == [
        "COURSE_PROFILE is 'fast'; it can be full or quick. Set it so, or unset it."
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="here the device works")
def test_a_device_that_does_not_work_is_told(monkeypatch):
    monkeypatch.setenv("COURSE_DEVICE", "cuda")
    (problem,) = wrong("_device")
    assert problem.startswith("cuda does not work (")
    assert problem.endswith("COURSE_DEVICE is cuda: unset it and restart the kernel.")


def test_a_model_that_is_not_installed_or_another_file_is_told_with_its_cure(
    monkeypatch,
):
    monkeypatch.setattr(loading, "find_spec", lambda _: None)
    assert [problem.split(": ")[0] for problem in wrong("_models")] == [
        "SmolLM2",
        "MiniLM",
    ]
    assert all(loading.CURE in problem for problem in wrong("_models"))


def test_a_checkpoint_that_is_damaged_or_missing_is_told_with_its_cure(
    monkeypatch, tmp_path
):
    def cut(stage: str):
        raise ValueError(f"{stage}.safetensors is damaged. {checkpoints.CURE}")

    monkeypatch.setattr(checkpoints, "load", cut)
    found = wrong("_weights")
    assert len(found) == len(checkpoints.STAGES)
    assert all("make weights" in problem for problem in found)
    monkeypatch.undo()
    whole = checkpoints.HERE / "base.safetensors"
    for name in ("tokenizer.json", "base.safetensors"):
        (tmp_path / name).write_bytes((checkpoints.HERE / name).read_bytes())
    (tmp_path / whole.name).write_bytes(whole.read_bytes()[:-100])
    assert doctor._verified(
        "base", lambda: checkpoints.load("base", folder=tmp_path)
    ).problems


def test_what_cannot_be_looked_at_is_a_problem_and_the_rest_is_looked_at(monkeypatch):
    def _broken():
        yield doctor.Finding("first", "fine")
        raise ImportError("libgomp.so.1: cannot open shared object file\nand more")

    monkeypatch.setattr(doctor, "_device", _broken)
    for look in LOOKS[3:]:
        monkeypatch.setattr(doctor, look, lambda: iter(()))
    found = doctor.findings()
    assert [one.what for one in found][-2:] == ["first", "broken"]
    assert found[-1].problems == [
        "broken cannot be looked at (ImportError: libgomp.so.1: cannot open shared object "
        "file). `make lab` installs what is missing."
    ]


# --- memory -------------------------------------------------------------------------------------------

MEMINFO = "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:    8000000 kB\n"


@pytest.fixture
def container(tmp_path, monkeypatch):
    """A folder as /sys/fs/cgroup, on a machine with 16.4 GB of which 8.2 are free."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(MEMINFO)
    monkeypatch.setattr(machine, "MEMINFO", meminfo)
    monkeypatch.setattr(machine, "CONTAINER", tmp_path)
    return tmp_path


def limit(folder, allowed: str, used: str, stat: str) -> None:
    for name, text in zip(
        ("max", "current", "stat"), (allowed, used, stat), strict=True
    ):
        folder.mkdir(exist_ok=True)
        (folder / f"memory.{name}").write_text(text + "\n")


def test_without_a_container_memory_is_the_machines(container):
    assert machine.memory() == pytest.approx((16.384, 8.192))
    limit(container, "max", "5", "inactive_file 3")
    assert machine.memory() == pytest.approx((16.384, 8.192))


def test_a_containers_limit_counts_without_the_files_it_has_read(container):
    limit(container, "2000000000", "1500000000", "anon 1\ninactive_file 700000000")
    assert machine.memory() == pytest.approx((2.0, 1.2))


def test_the_older_kind_of_container_counts_too(container):
    (container / "memory").mkdir()
    for name, text in {"limit_in_bytes": "2000000000", "usage_in_bytes": "500000000", "stat": "total_inactive_file 0"}.items():  # fmt: skip
        (container / "memory" / f"memory.{name}").write_text(text)
    assert machine.memory() == pytest.approx((2.0, 1.5))


def test_where_linuxs_files_are_missing_the_whole_is_asked_of_the_system(
    container, monkeypatch
):
    monkeypatch.setattr(machine, "MEMINFO", container / "nowhere")
    monkeypatch.setattr(machine.os, "sysconf", {"SC_PHYS_PAGES": 10**6, "SC_PAGE_SIZE": 4096}.get)  # fmt: skip
    assert machine.memory() == (4.096, None)

    def unknown(_):
        raise ValueError

    monkeypatch.setattr(machine.os, "sysconf", unknown)
    assert machine.memory() == (None, None)
