# SPDX-License-Identifier: GPL-2.0-only
"""make run: base, series, build and guests to one verdict.

    ENV=um,x86_64|all   environments (default: those marked so in tools/environments.toml)
    BASE=7.3|6.12       base kernel        KDIR=<tree>  your own kernel tree instead
    FILTER=suite.case   kunit.py's filter glob

Results go to out/: summary.json, and kunit.txt, ktap.log, results.json and
junit.xml per environment. Exit code 0 only if every environment passed.
"""

import contextlib
import datetime
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree
from pathlib import Path

import environments
import kvm_probe
import prereq
import verdict
import worktree
from common import CACHE, OUT, Stop, disk_full, hold, marked, need_space, run_main, say, spawn, step, write

BUILD_MIB = 900         # a build directory and its share of the compiler cache
SCHEMA = 1
GRACE = 5               # seconds that kunit.py may take beyond its own timeout, and again to end
COMPILER_ERROR = re.compile(r"error:|ERROR: modpost: |fatal:|undefined reference|\*\*\*|Missing: |No rule to make")
# Set by our caller or the user's habits, and poison for a kernel build.
DROPPED = ("ARCH", "CROSS_COMPILE", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "GNUMAKEFLAGS",
           "BASE", "ENV", "KDIR", "FILTER", "O", "M", "V", "W", "C", "CC", "LLVM", "CFLAGS", "LDFLAGS")


def build_environ(accelerators=()):
    """The environment of kunit.py: fixed and cached, whatever the user's own holds."""
    env = {key: value for key, value in os.environ.items()
           if key not in DROPPED and not key.startswith(("KBUILD_", "KCONFIG_", "CCACHE_"))}
    path = [str(kvm_probe.wrappers(qemu)) for qemu, accelerator in accelerators if accelerator == "tcg"]
    if Path("/usr/lib/ccache").is_dir():
        path.append("/usr/lib/ccache")
    env.update({
        "PATH": os.pathsep.join([*path, env.get("PATH", os.defpath)]), "LC_ALL": "C", "PYTHONDONTWRITEBYTECODE": "1",
        "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970", "KBUILD_BUILD_USER": "kunit",
        "KBUILD_BUILD_HOST": "kunit",
        "CCACHE_DIR": str(CACHE / "ccache"), "CCACHE_BASEDIR": str(CACHE), "CCACHE_NOHASHDIR": "1",
        # Without depend mode, each miss runs the preprocessor twice.
        "CCACHE_DEPEND": "1", "CCACHE_MAXSIZE": "3G",
    })
    return env


def options(env, build_dir):
    """kunit.py's options that configure and build `env`."""
    return [f"--build_dir={build_dir}", *environments.build_options(env)]


def guest_options(env, filter_glob):
    """kunit.py's options that run `env`."""
    return environments.guest_options(env) + ([filter_glob] if filter_glob else [])


def image(work, env, build_dir):
    """The file that kunit.py boots."""
    if env["arch"] == "um":
        return build_dir / "linux"
    config = (work.path / f"tools/testing/kunit/qemu_configs/{env['arch']}.py").read_text(encoding="utf-8")
    return build_dir / re.search(r"kernel_path='([^']+)'", config).group(1)


class Kunit:
    """Runs kunit.py of one work tree."""
    def __init__(self, work, accelerators):
        self.tool = [sys.executable, "-B", work.path / "tools/testing/kunit/kunit.py"]
        self.environ = build_environ(accelerators)

    def __call__(self, words, log, limit=None, beat=None):
        """kunit.py's exit status, None if it had to be killed; its guest is after `limit` seconds."""
        start = time.monotonic()
        with open(log, "ab") as output, \
                spawn([*self.tool, *words], env=self.environ, stdout=output, stderr=output) as process:
            while process.poll() is None:
                try:
                    process.wait(timeout=1)
                except subprocess.TimeoutExpired:
                    if beat:
                        beat()
                    over = time.monotonic() - start - limit if limit else 0
                    if over > GRACE:
                        return None
                    if over > 0:    # without its guest kunit.py comes to an end, and saves the log
                        for pid in set(marked(process.mark)) - {process.pid}:
                            with contextlib.suppress(ProcessLookupError):
                                os.kill(pid, signal.SIGKILL)
        return process.returncode


def build(kunit, work, env, log):
    """Build the kernel of `env` unless it stands; returns seconds, or Stop."""
    build_dir = CACHE / "build" / work.key / env["build"]
    stamp = build_dir / "stamp.json"
    inputs = json.dumps({"work": work.id, "compiler": prereq.compiler(env), **environments.inputs(env)}, indent=1) + "\n"
    kernel = image(work, env, build_dir)
    if stamp.exists() and kernel.exists() and stamp.read_text(encoding="utf-8") == inputs:
        log.write_bytes(b"")
        say(f"build {env['build']}: nothing changed")
        return 0.0
    if not kernel.exists():
        need_space(build_dir, BUILD_MIB, f"build {env['build']}")
    stamp.unlink(missing_ok=True)
    build_dir.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    with step(f"build {env['build']}") as this:
        def beat():
            # Counting files is not free, so only when the count gets printed.
            if this.due():
                this.beat(f"{sum(name.endswith('.o') for *_, names in os.walk(build_dir) for name in names)} objects")
        status = kunit(["build", *options(env, build_dir)], log, beat=beat)
        if status:
            text = log.read_text(encoding="utf-8", errors="replace")
            if "No space left on device" in text:
                raise Stop(disk_full(build_dir))
            lines = re.sub(r"^ERROR:root:|\S*/work/[^/\s]+/", "", text, flags=re.M).splitlines()
            errors = [line.strip() for line in lines if COMPILER_ERROR.search(line)]
            # make's own chain of failures only where nothing says more.
            raise BuildFailure([line for line in errors if "***" not in line] or errors or lines[-5:] or ["no output"])
        if not kernel.exists():
            raise BuildFailure([f"kunit.py build succeeded without {kernel.relative_to(build_dir)}"])
        write(stamp, inputs)
    return round(this.seconds(), 1)


class BuildFailure(Exception):
    """The kernel does not build; `args[0]` are the lines that say why."""


def guest(kunit, work, env, filter_glob, out):
    """Run the guest of `env`; returns (Verdict, seconds)."""
    build_dir = CACHE / "build" / work.key / env["build"]
    ktap, results, junit = (out / name for name in ("ktap.log", "results.json", "junit.xml"))
    log = build_dir / "test.log"
    log.unlink(missing_ok=True)
    words = ["exec", *options(env, build_dir), f"--json={results}", *guest_options(env, filter_glob)]
    if has_junit(work):
        words.insert(-1 if filter_glob else len(words), f"--junit={junit}")
    printed = out / "kunit.txt"
    before = printed.stat().st_size
    with step(f"run {env['name']}") as this:
        status = kunit(words, printed, limit=env["timeout"] + GRACE, beat=this.beat)
    said = printed.read_bytes()[before:].decode(errors="replace")
    if "No space left on device" in said:
        raise Stop(disk_full(out))
    text = ""
    if log.exists():
        shutil.copyfile(log, ktap)
        text = ktap.read_text(encoding="utf-8", errors="replace")
    hang = ""
    if status is None or re.search(r"timed out after \S+ seconds", said):
        hang = f"hang: the guest did not end within {env['timeout']} s"
    decoded = None
    if results.exists():
        try:
            decoded = json.loads(results.read_text(encoding="utf-8"))
        except ValueError:
            results.unlink()        # half-written
    judged = verdict.judge(text, decoded, status, env["suites"], env["skips"], filter_glob, hang)
    if has_junit(work) and judged.status == verdict.PASS:
        try:
            xml.etree.ElementTree.parse(junit)
        except (OSError, xml.etree.ElementTree.ParseError) as error:
            judged.status, judged.reasons = verdict.FAIL, [f"junit.xml is not well-formed: {error}"]
    return judged, round(this.seconds(), 1)


def has_junit(work):
    """kunit.py writes JUnit since 7.3."""
    return (work.path / "tools/testing/kunit/kunit_junit.py").exists()


def run_environment(kunit, work, env, filter_glob, accelerator, built):
    """Build and run one environment; returns (its row of the summary, Verdict or None)."""
    out = OUT / env["name"]
    out.mkdir(parents=True, exist_ok=True)
    printed = out / "kunit.txt"
    build_dir = CACHE / "build" / work.key / env["build"]
    prefix = f"PATH={shlex.quote(str(kvm_probe.WRAPPERS))}:$PATH " if accelerator == "tcg" else ""
    row = {
        "name": env["name"], "verdict": verdict.FAIL, "reason": "", "accelerator": accelerator,
        "command": prefix + shlex.join([str(work.path / "tools/testing/kunit/kunit.py"), "run",
                                        *options(env, build_dir), *guest_options(env, filter_glob)]),
        "build_seconds": 0.0, "run_seconds": 0.0,
        "log": None, "json": None, "junit": None, "passed": 0, "failed": 0, "skipped": 0,
    }
    judged = None
    try:
        if env["build"] not in built:
            log = build_dir.with_name(f"{env['build']}.log")
            log.parent.mkdir(parents=True, exist_ok=True)
            try:
                row["build_seconds"] = build(kunit, work, env, log)
                built[env["build"]] = log.read_bytes()
            except BuildFailure as failure:
                built[env["build"]] = failure
                printed.write_bytes(log.read_bytes())
        if isinstance(built[env["build"]], BuildFailure):
            raise built[env["build"]]
        printed.write_bytes(built[env["build"]])
        judged, row["run_seconds"] = guest(kunit, work, env, filter_glob, out)
        row.update(verdict=judged.status, reason="; ".join(judged.reasons),
                   passed=judged.count((verdict.PASS,)), skipped=judged.count((verdict.SKIP,)),
                   failed=judged.count((verdict.FAIL, verdict.ERROR)))
        if judged.status == verdict.FAIL:
            explain(env, judged, out / "ktap.log")
    except BuildFailure as failure:
        row["reason"] = f"build failed: {failure.args[0][0]}"
        say(f"{env['name']}: the build failed, all of it in {printed}")
        for line in failure.args[0][:12]:
            say(f"    {line}")
    for key, name in (("log", "ktap.log"), ("json", "results.json"), ("junit", "junit.xml")):
        if (out / name).exists():
            row[key] = str(out / name)
    return row, judged


def explain(env, judged, log):
    """Print what a reader needs of a failed guest."""
    say(f"{env['name']}: {'; '.join(judged.reasons)}")
    for suite, case in judged.cases():
        for node in [case, *case.rows]:
            if node.status == verdict.FAIL and node.notes:
                say(f"    {suite.name}.{case.name}{'' if node is case else '/' + node.name}")
                for line in node.notes[-15:]:
                    say(f"        {line.strip()}")
    # Not a mere failed or skipped case: how the guest ended, and around its first complaint.
    if any(not re.match("failed: |(not )?skipped, ", reason) for reason in judged.reasons):
        lines = verdict.parse(log.read_text(encoding="utf-8", errors="replace")).lines if log.exists() else []
        first = next((i for i, line in enumerate(lines) if verdict.TROUBLE.match(line)), len(lines))
        start = min(first, max(0, len(lines) - 15))
        say(f"    the guest's log from line {start + 1} of {len(lines)}:" if lines else "    the guest printed nothing")
        for line in lines[start:start + 15]:
            say(f"        {line}")


def result_rows(env, judged):
    """The cases of one environment for the summary; parameters as case/parameter."""
    for suite, case in judged.cases():
        yield {"environment": env, "suite": suite.name, "case": case.name, "status": case.status,
               "seconds": case.seconds}
        for row in case.rows:
            yield {"environment": env, "suite": suite.name, "case": f"{case.name}/{row.name}", "status": row.status,
                   "seconds": row.seconds}


def matrix(envs, rows, verdicts):
    """Lines of the table: environments by suites, passed/total cases."""
    suites = list(dict.fromkeys([name for env in envs for name in env["suites"]]
                                + [suite.name for judged in verdicts.values() for suite in judged.suites]))
    # The words of a suite's name stand below each other: that is as wide as the numbers.
    heads = [["environment"], ["accel"], *(re.findall("[^_]+_*", name) for name in suites),
             ["build s"], ["run s"], ["verdict"]]
    deep = max(map(len, heads))
    table = list(zip(*([""] * (deep - len(head)) + head for head in heads)))
    for row in rows:
        judged = verdicts.get(row["name"])
        counts = {suite.name: f"{sum(case.status == verdict.PASS for case in suite.rows)}/"
                              f"{max(len(suite.rows), suite.plan or 0)}" for suite in judged.suites} if judged else {}
        table.append([row["name"], row["accelerator"], *(counts.get(name, "-") for name in suites),
                      f"{row['build_seconds']:.1f}", f"{row['run_seconds']:.1f}", row["verdict"]])
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return ["  ".join(cell.ljust(width) if column in (0, 1, len(widths) - 1) else cell.rjust(width)
                      for column, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in table]


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
    rows, verdicts, built = [], {}, {}
    for env in envs:
        row, judged = run_environment(kunit, work, env, given["FILTER"], accelerators[env["name"]], built)
        rows.append(row)
        if judged:
            verdicts[env["name"]] = judged
    seconds = round(time.monotonic() - start, 1)
    failed = [row for row in rows if row["verdict"] == verdict.FAIL]
    ran = [row for row in rows if row["verdict"] == verdict.PASS]
    final = verdict.FAIL if failed or not ran else verdict.PASS
    write(OUT / "summary.json", json.dumps({
        "schema": SCHEMA, "started": started.isoformat(timespec="seconds"), "seconds": seconds, "verdict": final,
        "base": {"name": work.base, "version": work.version, "source": work.description, "why": work.why},
        "series": {"patches": work.patches}, "filter": given["FILTER"], "environments": rows,
        "results": [row for env in envs if env["name"] in verdicts
                    for row in result_rows(env["name"], verdicts[env["name"]])],
    }, indent=1) + "\n")
    say()
    for line in matrix(envs, rows, verdicts):
        say(line)
    say()
    if not failed and not ran:
        raise Stop(f"FILTER '{given['FILTER']}' matches no case in: {' '.join(row['name'] for row in rows)}")
    if failed:
        say("FAIL: " + "; ".join(f"{row['name']}: {row['reason']}" for row in failed))
        return 1
    cases = sum(row["passed"] for row in ran)
    skipped = sum(row["skipped"] for row in ran)
    say(f"PASS: {cases} cases{f' ({skipped} skipped)' if skipped else ''} in {' '.join(row['name'] for row in ran)}, "
        f"Linux {work.version}, {seconds:.0f} s; details in {OUT / 'summary.json'}")
    return 0


if __name__ == "__main__":
    run_main(main)
