"""Two rules for every test: slow ones run only when asked for, and nothing is skipped in CI unnoticed."""

import os

import pytest


def pytest_collection_modifyitems(config, items):
    """Leave out what is marked slow, unless the -m expression speaks of slow itself."""
    if "slow" in config.option.markexpr:
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


def refuse_skip(report) -> None:
    """Turn a skip into a failure in CI, where everything that a test needs is installed."""
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = (
            report.longrepr[2]
            if isinstance(report.longrepr, tuple)
            else report.longrepr
        )
        report.outcome = "failed"
        report.longrepr = (
            f"{report.nodeid} was skipped, which counts as a failure in CI. {reason}"
        )


# outermost: xfail has been marked by then
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(
    collector,
):  # a whole file may be skipped while it is read: importorskip
    report = yield
    refuse_skip(report)
    return report
