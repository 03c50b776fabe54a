"""The two rules of conftest.py, tried on small suites of their own."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
SUITE = """
    import pytest

    def test_quick(): pass

    @pytest.mark.slow
    def test_slow(): pass
"""
SKIPS = """
    import pytest

    @pytest.mark.skip(reason="by a mark")
    def test_marked(): pass

    def test_calls(): pytest.skip("by a call")

    @pytest.fixture
    def absent(): pytest.skip("by a fixture")

    def test_needs(absent): pass
"""
EXPECTED_FAILURES = """
    import pytest

    @pytest.mark.xfail
    def test_fails(): assert False

    @pytest.mark.xfail(run=False)
    def test_is_not_run(): assert False

    def test_calls(): pytest.xfail("known")
"""


@pytest.fixture
def suite(pytester, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text())
    pytester.makeini("[pytest]\nmarkers = slow: minutes")
    return pytester


@pytest.mark.parametrize(
    ("arguments", "passed", "left_out"),
    [((), 1, 1), (("-m", "slow"), 1, 1), (("-m", "slow or not slow"), 2, 0)],
)
def test_slow_tests_run_only_when_the_marker_is_asked_for(
    suite, arguments, passed, left_out
):
    suite.makepyfile(SUITE)
    suite.runpytest(*arguments).assert_outcomes(passed=passed, deselected=left_out)


def test_asking_for_slow_runs_the_slow_one(suite):
    suite.makepyfile(SUITE)
    suite.runpytest("-m", "slow", "-v").stdout.fnmatch_lines(["*::test_slow PASSED*"])


def test_another_marker_does_not_let_slow_tests_in(suite):
    suite.makepyfile(SUITE)
    suite.runpytest("-m", "not network").assert_outcomes(passed=1, deselected=1)


def test_a_skip_is_a_skip_at_home(suite):
    suite.makepyfile(SKIPS)
    suite.runpytest().assert_outcomes(skipped=3)


def test_in_ci_every_kind_of_skip_fails_and_says_why(suite, monkeypatch):
    monkeypatch.setenv("CI", "true")
    suite.makepyfile(SKIPS)
    result = suite.runpytest()
    # pytest calls a failure before the test itself an error
    result.assert_outcomes(failed=1, errors=2)
    for how in ("mark", "call", "fixture"):
        result.stdout.fnmatch_lines(
            [f"*was skipped, which counts as a failure in CI. Skipped: by a {how}*"]
        )
    assert result.ret == 1


def test_in_ci_a_file_that_skips_itself_fails(suite, monkeypatch):
    monkeypatch.setenv("CI", "true")
    suite.makepyfile(
        "import pytest\npytest.importorskip('no_such_package')\ndef test_never(): pass"
    )
    result = suite.runpytest()
    result.stdout.fnmatch_lines(
        ["*counts as a failure in CI*could not import 'no_such_package'*"]
    )
    assert result.ret != 0


def test_expected_failures_stay_expected_in_ci(suite, monkeypatch):
    monkeypatch.setenv("CI", "true")
    suite.makepyfile(EXPECTED_FAILURES)
    suite.runpytest().assert_outcomes(xfailed=3)
