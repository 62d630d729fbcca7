# SPDX-License-Identifier: GPL-2.0-only
"""make run: base, series, build and guests to one verdict.

    ENV=um,x86_64|all   environments (default: those marked so in tools/environments.toml)
    BASE=7.3|6.12       base kernel        KDIR=<tree>  your own kernel tree instead
    FILTER=suite.case   kunit.py's filter glob

Guests run side by side and beside the next build, as many as there are processors. Results
go to out/: summary.json, and kunit.txt, ktap.log, results.json and junit.xml per environment.
Exit code 0 only if every environment passed.
"""

import concurrent.futures
import datetime
import json
import os
import re
import shlex
import shutil
import time

import environments
import kvm_probe
import prereq
import verdict
import worktree
from common import CACHE, OUT, Stop, hold, run_main, say, stopping, table, write
from guests import (COMPILER_ERROR, BuildFailure, Kunit, build, build_directory, build_environ, explain, guest,  # noqa: F401
                    guest_options, image, options)      # pylint: disable=unused-import

SCHEMA = 1


def first_row(work, env, filter_glob, accelerator):
    """The row of the summary for an environment that did not run yet."""
    prefix = f"PATH={shlex.quote(str(kvm_probe.WRAPPERS))}:$PATH " if accelerator == "tcg" else ""
    return {
        "name": env["name"], "verdict": verdict.FAIL, "reason": "", "accelerator": accelerator,
        "command": prefix + shlex.join([str(work.path / "tools/testing/kunit/kunit.py"), "run",
                                        *options(env, build_directory(work, env)), *guest_options(env, filter_glob)]),
        "build_seconds": 0.0, "run_seconds": 0.0,
        "log": None, "json": None, "junit": None, "passed": 0, "failed": 0, "skipped": 0,
    }


def build_once(kunit, work, env, built):
    """(seconds, log or BuildFailure) of the kernel of `env`; `built` remembers those of this run, by build."""
    if env["build"] in built:
        return 0.0, built[env["build"]]
    log, seconds = build_directory(work, env).with_name(f"{env['build']}.log"), 0.0
    try:
        seconds = build(kunit, work, env, log)
        built[env["build"]] = log.read_bytes()
    except BuildFailure as failure:
        failure.log = log.read_bytes()
        built[env["build"]] = failure
    return seconds, built[env["build"]]


def run_guest(kunit, work, env, filter_glob, row):
    """Run one environment, whose kernel is there, and complete its row; returns the Verdict."""
    out = OUT / env["name"]
    judged, row["run_seconds"] = guest(kunit, work, env, filter_glob, out)
    row.update(verdict=judged.status, reason="; ".join(judged.reasons), passed=judged.count(verdict.PASS),
               skipped=judged.count(verdict.SKIP), failed=judged.count(verdict.FAIL, verdict.ERROR))
    if judged.status == verdict.FAIL:
        explain(env["name"], judged, out / "ktap.log")
    for key, name in (("log", "ktap.log"), ("json", "results.json"), ("junit", "junit.xml")):
        row[key] = str(out / name) if (out / name).exists() else None
    return judged


def run_all(kunit, work, rows, envs, filter_glob):
    """Build and run `envs`, and complete their `rows`; returns {environment: Verdict} of those that ran."""
    built, pending = {}, {}
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        try:
            for env, row in zip(envs, rows):
                out = OUT / env["name"]
                out.mkdir(parents=True, exist_ok=True)
                row["build_seconds"], result = build_once(kunit, work, env, built)
                if isinstance(result, BuildFailure):
                    (out / "kunit.txt").write_bytes(result.log)
                    row["reason"] = f"build failed: {result.args[0][0]}"
                    say(f"{env['name']}: the build failed, all of it in {out / 'kunit.txt'}",
                        *(f"    {line}" for line in result.args[0][:12]))
                else:
                    (out / "kunit.txt").write_bytes(result)
                    pending[env["name"]] = pool.submit(run_guest, kunit, work, env, filter_glob, row)
            return {name: future.result() for name, future in pending.items()}
        except BaseException:
            stopping.set()
            pool.shutdown(cancel_futures=True)
            raise


def result_rows(env, judged):
    """The cases of one environment for the summary; parameters as case/parameter."""
    for suite, case in judged.cases():
        for name, one in ((case.name, case), *((f"{case.name}/{row.name}", row) for row in case.rows)):
            yield {"environment": env, "suite": suite.name, "case": name, "status": one.status, "seconds": one.seconds}


def matrix(envs, rows, verdicts):
    """Lines of the table: suites by environments, passed/total cases, and then how each environment ran."""
    suites = list(dict.fromkeys([name for env in envs for name in env["suites"]]
                                + [suite.name for judged in verdicts.values() for suite in judged.suites]))
    # The parts of an environment's name stand below each other: that is as wide as the numbers.
    heads = [["suite"], *(re.findall("[^-]+-*", row["name"]) for row in rows)]
    deep = max(map(len, heads))
    lines = list(zip(*([""] * (deep - len(head)) + head for head in heads)))
    for name in suites:
        lines.append([name, *(verdicts[row["name"]].passed(name) if row["name"] in verdicts else "-" for row in rows)])
    lines.append(["accelerator", *(row["accelerator"] for row in rows)])
    for key, label in (("build_seconds", "build s"), ("run_seconds", "run s")):
        lines.append([label, *(f"{row[key]:.1f}" for row in rows)])
    lines.append(["verdict", *(row["verdict"] for row in rows)])
    return table(lines)


def main():
    start, started = time.monotonic(), datetime.datetime.now(datetime.timezone.utc)
    given = {name: os.environ.get(name, "").strip() for name in ("ENV", "BASE", "KDIR", "FILTER")}
    envs = environments.choose(given["ENV"])
    if not re.fullmatch(r"[A-Za-z0-9_*?.\[\]!-]*", given["FILTER"]):
        raise Stop(f"FILTER '{given['FILTER']}' is not a glob of suite.case names")
    if re.search(r"[\s:]", str(CACHE)):
        raise Stop(f"the cache {CACHE} has a space or colon in its path, which kernel builds do not take: "
                   "set XDG_CACHE_HOME to another directory")
    hold(str(OUT))
    for env in envs:        # a failed run must not leave yesterday's green log
        shutil.rmtree(OUT / env["name"], ignore_errors=True)
    (OUT / "summary.json").unlink(missing_ok=True)
    prereq.ensure(envs)
    work = worktree.prepare(given["BASE"] or None, given["KDIR"] or None)
    accelerators = {env["name"]: kvm_probe.accelerator(env["qemu"]) if env["qemu"] else "-" for env in envs}
    kunit = Kunit(work, {(env["qemu"], accelerators[env["name"]]) for env in envs if env["qemu"]})
    rows = [first_row(work, env, given["FILTER"], accelerators[env["name"]]) for env in envs]
    verdicts = run_all(kunit, work, rows, envs, given["FILTER"])
    seconds = round(time.monotonic() - start, 1)
    failed = [row for row in rows if row["verdict"] == verdict.FAIL]
    ran = [row for row in rows if row["verdict"] == verdict.PASS]
    final = verdict.FAIL if failed or not ran else verdict.PASS
    write(OUT / "summary.json", json.dumps({
        "schema": SCHEMA, "started": started.isoformat(timespec="seconds"), "seconds": seconds, "verdict": final,
        "base": {"name": work.base, "version": work.version, "source": work.description, "why": work.why},
        "series": {"patches": work.patches}, "filter": given["FILTER"], "environments": rows,
        "results": [row for name, judged in verdicts.items() for row in result_rows(name, judged)],
    }, indent=1) + "\n")
    say("", *matrix(envs, rows, verdicts), "")
    if not failed and not ran:
        raise Stop(f"FILTER '{given['FILTER']}' matches no case in: {' '.join(row['name'] for row in rows)}")
    if failed:
        say("FAIL: " + "; ".join(f"{row['name']}: {row['reason']}" for row in failed))
        return 1
    cases, skipped = (sum(row[key] for row in ran) for key in ("passed", "skipped"))
    say(f"PASS: {cases} cases{f' ({skipped} skipped)' if skipped else ''} in {' '.join(row['name'] for row in ran)}, "
        f"Linux {work.version}, {seconds:.0f} s; details in {OUT / 'summary.json'}")
    return 0


if __name__ == "__main__":
    run_main(main)
