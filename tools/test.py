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


def tool(*words):
    """Exit code of one of our tools, as `make` would run it; its output goes to ours."""
    clean = {key: value for key, value in os.environ.items() if key not in ("ENV", "FILTER", "GITTREE")}
    with spawn([sys.executable, "-B", *words], cwd=ROOT, env=clean, stdout=sys.stdout, stderr=sys.stdout) as process:
        return process.wait()


def rows(name, key):
    """The list `key` of the file `name` in out/, [] if there is none."""
    try:
        return json.loads((OUT / name).read_text(encoding="utf-8"))[key]
    except (OSError, ValueError, KeyError):
        return []


def main():
    start, tally = time.monotonic(), check.Tally()
    for name in ("summary.json", "mutants.json"):
        (OUT / name).unlink(missing_ok=True)
    prereq.ensure(environments.choose(""), prereq.CHECKS)
    say("== make check")
    check.all_checks(tally)
    say("== the patches and the vanilla release")
    code = tool("tools/series.py", "vanilla")
    # That Debian's mirror lacks the source package today is not a fault of the patches.
    tally.count(code == 0, code not in (0, 2), code == 2)
    # A crash, a warning or a missing suite fails a run without a failed case.
    say("== the suites")
    bad = tool("tools/run.py") != 0
    passed, failed, skipped = (sum(row[key] for row in rows("summary.json", "environments")) for key in ("passed", "failed", "skipped"))
    tally.count(passed, failed or bad, skipped)
    say("== the suites as modules")
    bad = tool("tools/modules.py") != 0
    tally.count(not bad, bad)
    say("== mutants")
    bad = tool("tools/mutants.py", "--sample") != 0
    found = [row["status"] == "killed" for row in rows("mutants.json", "mutants")]
    tally.count(sum(found), len(found) - sum(found) or bad)
    say(f"{time.monotonic() - start:.0f} s")
    return tally.conclude()


if __name__ == "__main__":
    run_main(main)
