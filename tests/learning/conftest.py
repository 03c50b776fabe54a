"""Shows what the proofs of learning measured, also when they pass."""


def pytest_terminal_summary(terminalreporter):
    for report in terminalreporter.getreports("passed"):
        if "/learning/" in report.nodeid and report.capstdout:
            terminalreporter.write_line(report.nodeid.rpartition("::")[2])
            terminalreporter.write_line(report.capstdout.rstrip())
