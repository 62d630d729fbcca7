# SPDX-License-Identifier: GPL-2.0-only
"""make test: everything that must hold before a change lands.

make check; proof that the patches apply to the vanilla release; the suites in the default
environments, and as modules; a sample of the mutants. Goes on after a failure. The
last line is `N passed, N failed, N skipped`, counting checks, unit tests, KUnit cases and
mutants (the modules are one check); exit code 1 if anything failed or nothing passed.
"""

import json
import os
import sys
import time

import check
import environments
import prereq
import run
from common import OUT, ROOT, run_main, say, spawn


class Tally:
    """Counts of the whole run."""
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, passed, failed, skipped=0):
        self.passed, self.failed, self.skipped = self.passed + passed, self.failed + failed, self.skipped + skipped


def tool(*words):
    """Exit code of one of our tools, as `make` would run it; its output goes to ours."""
    clean = {key: value for key, value in os.environ.items() if key not in ("ENV", "FILTER", "GITTREE")}
    with spawn([sys.executable, "-B", *words], cwd=ROOT, env=clean, stdout=sys.stdout, stderr=sys.stdout) as process:
        return process.wait()


def count_run(code):
    """(passed, failed, skipped) cases of the run that ended with `code`."""
    try:
        rows = json.loads((OUT / "summary.json").read_text(encoding="utf-8"))["environments"]
    except (OSError, ValueError, KeyError):
        return 0, 1, 0
    passed, failed, skipped = (sum(row[key] for row in rows) for key in ("passed", "failed", "skipped"))
    # A crash, a warning or a missing suite fails the run without a failed case.
    return passed, failed or int(bool(code)), skipped


def count_mutants(code):
    """(killed, survived) mutants of the run that ended with `code`."""
    try:
        rows = json.loads((OUT / "mutants.json").read_text(encoding="utf-8"))["mutants"]
    except (OSError, ValueError, KeyError):
        return 0, 1
    killed = sum(row["status"] == "killed" for row in rows)
    return killed, (len(rows) - killed) or int(bool(code))


def main():
    start = time.monotonic()
    tally = Tally()
    for name in ("summary.json", "mutants.json"):
        (OUT / name).unlink(missing_ok=True)
    prereq.ensure(environments.choose(""), prereq.CHECKS)
    say("== make check")
    tally.add(*check.results(check.show)[:3])
    say("== the patches and the vanilla release")
    code = tool("tools/series.py", "vanilla")
    # That Debian's mirror lacks the source package today is not a fault of the patches.
    tally.add(*{0: (1, 0, 0), 2: (0, 0, 1)}.get(code, (0, 1, 0)))
    say("== the suites")
    tally.add(*count_run(tool("tools/run.py")))
    say("== the suites as modules")
    code = tool("tools/modules.py")
    tally.add(int(not code), int(bool(code)))
    say("== mutants")
    tally.add(*count_mutants(tool("tools/mutants.py", "--sample")))
    say(f"{time.monotonic() - start:.0f} s")
    say(f"{tally.passed} passed, {tally.failed} failed, {tally.skipped} skipped")
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    run_main(main)
