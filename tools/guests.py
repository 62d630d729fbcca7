# SPDX-License-Identifier: GPL-2.0-only
"""Building and running the kernel of an environment with kunit.py."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree
from pathlib import Path

import environments
import kvm_probe
import prereq
import verdict
from common import CACHE, Stop, disk_full, kill, need_space, offspring, say, spawn, step, stopping, write

BUILD_MIB = 900         # a build directory and its share of the compiler cache
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
    return env | {
        "PATH": os.pathsep.join([*path, env.get("PATH", os.defpath)]), "LC_ALL": "C", "PYTHONDONTWRITEBYTECODE": "1",
        "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970", "KBUILD_BUILD_USER": "kunit",
        "KBUILD_BUILD_HOST": "kunit",
        "CCACHE_DIR": str(CACHE / "ccache"), "CCACHE_BASEDIR": str(CACHE), "CCACHE_NOHASHDIR": "1",
        # Without depend mode, each miss runs the preprocessor twice.
        "CCACHE_DEPEND": "1", "CCACHE_MAXSIZE": "3G",
    }


def options(env, build_dir):
    """kunit.py's options that configure and build `env`."""
    return [f"--build_dir={build_dir}", *environments.build_options(env)]


def guest_options(env, filter_glob):
    """kunit.py's options that run `env`."""
    return environments.guest_options(env) + ([filter_glob] if filter_glob else [])


def build_directory(work, env):
    """Where the kernel of `env` is built from the tree `work`."""
    return CACHE / "build" / work.key / env["build"]


def image(work, env):
    """The path in the build directory of the file that kunit.py boots."""
    if env["arch"] == "um":
        return "linux"
    config = (work.path / f"tools/testing/kunit/qemu_configs/{env['arch']}.py").read_text(encoding="utf-8")
    return re.search(r"kernel_path='([^']+)'", config).group(1)


class Kunit:
    """Runs kunit.py of one work tree."""
    def __init__(self, work, accelerators):
        self.tool = [sys.executable, "-B", work.path / "tools/testing/kunit/kunit.py"]
        self.environ = build_environ(accelerators)

    def __call__(self, words, log, limit=None, beat=None, nice=()):
        """kunit.py's exit status, None if it had to be killed; its guest is after `limit` seconds."""
        start = time.monotonic()
        with open(log, "ab") as output, \
                spawn([*nice, *self.tool, *words], env=self.environ, stdout=output, stderr=output) as process:
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=1)
                    break
                if stopping.is_set():
                    raise Stop("interrupted")
                if beat:
                    beat()
                over = time.monotonic() - start - limit if limit else 0
                if over > GRACE:
                    return None
                if over > 0:    # without its guest kunit.py comes to an end, and saves the log
                    kill(offspring(process))
        return process.returncode


class BuildFailure(Exception):
    """The kernel does not build; `args[0]` are the lines that say why."""


def build(kunit, work, env, log):
    """Build the kernel of `env` unless it stands; returns seconds, or Stop."""
    build_dir = build_directory(work, env)
    stamp, kernel = build_dir / "stamp.json", build_dir / image(work, env)
    inputs = json.dumps({"work": work.id, "compiler": prereq.compiler(env), **environments.inputs(env)}, indent=1) + "\n"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    if stamp.exists() and kernel.exists() and stamp.read_text(encoding="utf-8") == inputs:
        say(f"build {env['build']}: nothing changed")
        return 0.0
    if not kernel.exists():
        need_space(build_dir, BUILD_MIB, f"build {env['build']}")
    stamp.unlink(missing_ok=True)
    build_dir.mkdir(parents=True, exist_ok=True)
    with step(f"build {env['build']}") as this:
        def beat():
            # Counting files is not free, so only when the count gets printed.
            if this.due():
                this.beat(f"{sum(name.endswith('.o') for *_, names in os.walk(build_dir) for name in names)} objects")
        # The guests that run meanwhile have time limits.
        status = kunit(["build", *options(env, build_dir)], log, beat=beat, nice=("nice", "-n", "5"))
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


def guest(kunit, work, env, filter_glob, out):
    """Run the guest of `env`, which leaves its files in `out`; returns (Verdict, seconds)."""
    ktap, results, junit, printed = (out / name for name in ("ktap.log", "results.json", "junit.xml", "kunit.txt"))
    # kunit.py writes the log next to the kernel, and others may boot the same kernel now.
    build_dir, kernel = build_directory(work, env), image(work, env)
    place = build_dir / "guests" / env["name"].replace(" ", "-")
    shutil.rmtree(place, ignore_errors=True)
    (place / kernel).parent.mkdir(parents=True)
    (place / kernel).symlink_to(build_dir / kernel)
    # kunit.py writes JUnit since 7.3.
    has_junit = (work.path / "tools/testing/kunit/kunit_junit.py").exists()
    words = ["exec", *options(env, place), f"--json={results}", *([f"--junit={junit}"] if has_junit else []),
             *guest_options(env, filter_glob)]
    with printed.open("a"):
        before = printed.stat().st_size
    with step(f"run {env['name']}") as this:
        status = kunit(words, printed, limit=env["timeout"] + GRACE, beat=this.beat)
    said = printed.read_bytes()[before:].decode(errors="replace")
    if "No space left on device" in said:
        raise Stop(disk_full(out))
    text, hang = "", ""
    if (place / "test.log").exists():
        shutil.copyfile(place / "test.log", ktap)
        text = ktap.read_text(encoding="utf-8", errors="replace")
    if status is None or re.search(r"timed out after \S+ seconds", said):
        hang = f"hang: the guest did not end within {env['timeout']} s"
    judged = verdict.judge(text, work.path, status, env["suites"], env["skips"], filter_glob, hang, env["machine"])
    for path, read in ((results, lambda: json.loads(results.read_bytes())), (junit, lambda: xml.etree.ElementTree.parse(junit))):
        try:
            if has_junit or path != junit:
                read()
        except (OSError, ValueError, xml.etree.ElementTree.ParseError) as error:
            path.unlink(missing_ok=True)        # half-written
            if judged.status == verdict.PASS:
                judged.status, judged.reasons = verdict.FAIL, [f"kunit.py wrote no good {path.name}: {error}"]
    return judged, round(this.seconds(), 1)


def explain(name, judged, log):
    """Print what a reader needs of the failed guest `name` with this `log`."""
    lines = [f"{name}: {'; '.join(judged.reasons)}"]
    for suite, case in judged.cases():
        for node in [case, *case.rows]:
            if node.status == verdict.FAIL and node.notes:
                lines.append(f"    {suite.name}.{case.name}{'' if node is case else '/' + node.name}")
                lines += [f"        {line.strip()}" for line in node.notes[-15:]]
    # Not a mere failed or skipped case: how the guest ended, and around its first complaint.
    if any(not re.match("failed: |(not )?skipped, ", reason) for reason in judged.reasons):
        text = [line for _, line in verdict.lines(log.read_text(encoding="utf-8", errors="replace"))] if log.exists() else []
        first = next((i for i, line in enumerate(text) if verdict.TROUBLE.match(line)), len(text))
        start = min(first, max(0, len(text) - 15))
        lines.append(f"    the guest's log from line {start + 1} of {len(text)}:" if text else "    the guest printed nothing")
        lines += [f"        {line}" for line in text[start:start + 15]]
    say(*lines)
