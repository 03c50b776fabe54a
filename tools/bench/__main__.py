"""`python -m tools.bench [NAME ...]`: measure some claims or all, then write docs/BENCH.md."""

import argparse
import importlib
import pkgutil

from tools import bench
from tools.bench.harness import FOLDER, Claim, Mismatch, run
from tools.bench.table import TABLE, table


def claims() -> dict[str, Claim]:
    """Every file of this folder that declares a CLAIM, by the name of the claim."""
    names = [
        module.name
        for module in pkgutil.iter_modules(bench.__path__)
        if module.name != "__main__"
    ]
    modules = [importlib.import_module(f"tools.bench.{name}") for name in names]
    return {
        module.CLAIM.name: module.CLAIM
        for module in modules
        if hasattr(module, "CLAIM")
    }


def main(arguments: list[str] | None = None) -> None:
    known = claims()
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument(
        "name", nargs="*", help=f"what to measure (all): {', '.join(known)}"
    )
    parser.add_argument(
        "--table",
        action="store_true",
        help="measure nothing, only write docs/BENCH.md again",
    )
    options = parser.parse_args(arguments)
    if unknown := sorted({*options.name} - {*known}):
        parser.error(
            f"no claim is called {', '.join(unknown)}; there are {', '.join(known)}"
        )
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in [] if options.table else options.name or known:
        try:
            result = run(known[name])
        except Mismatch as difference:
            raise SystemExit(str(difference)) from None
        for row in result["rows"]:
            print(
                f"{name}, {row['size']}: {row['median']} {row['interval']}", flush=True
            )
    TABLE.write_text(table())


if __name__ == "__main__":
    main()
