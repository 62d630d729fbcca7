# SPDX-License-Identifier: GPL-2.0-only
"""make bisect: does each single patch compile, without a warning in the lines that the series add?

    ENV=um,arm64    environments whose kernels to compile (default: one of each architecture)
    BASE=, GITTREE= the git tree of the series, as for tools/series.py

Checks out one commit of the git tree after the other, and compiles the files that the series touch, with W=1.
What was good is remembered, and compiled again only after a change of these files, the base, the compiler or
the configuration. An environment ends at its first failure. Exit code 1 if anything failed.
(Its name is not bisect.py: that would hide a module of Python's library from random and tempfile.)
"""

import hashlib
import json
import os
import re
import shutil
import sys
from pathlib import Path

import environments
import guests
import prereq
import series
from common import CACHE, Stop, disk_full, git, hold, lock, need_space, run, run_main, say, step, write

DEFAULT = "um x86_64 ppc64le-hash64k arm64 riscv64 s390x"
WARNING = re.compile(r"([^\s:]+):(\d+):(?:\d+:)? ?warning: ")
# A makefile that prints what kbuild compiles in a directory, and where it descends to.
OBJECTS = "include .config {}\n$(info $(foreach o,$(obj-y) $(obj-m) $(lib-y),$(o) $($(o:.o=-y)) $($(o:.o=-objs))))\nall: ;"


def added(diff):
    """{path: numbers of the lines that it adds} of a `git diff -U0`."""
    found, path = {}, None
    for line in diff.splitlines():
        if line.startswith("+++ b/"):
            path = line[6:]
        elif hunk := re.match(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@", line):
            start, count = int(hunk[1]), int(hunk[2] or 1)
            found.setdefault(path, set()).update(range(start, start + count))
    return found


def problem(status, output, ours):
    """The first line of make's `output` that counts: a warning in a line of `ours`, or an error if it failed; or None."""
    lines = [line.strip() for line in output.splitlines()]
    for line in lines:
        warning = WARNING.match(line)
        if status and guests.COMPILER_ERROR.search(line) or warning and int(warning[2]) in ours.get(warning[1], ()):
            return line
    return (lines or ["no output"])[-1] if status else None


def digest(*values):
    """A hash of what json can say."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


class Kernel:
    """The build directory of one environment, and the sources at `source`, which borrow the objects of the git tree `tree`."""

    def __init__(self, env, tree, source, touched):
        self.env, self.tree, self.source, self.touched = env, tree, source, touched
        self.build, self.environ, self.symbols = source.with_name(env["build"]), guests.build_environ(), None
        self.settings = [git("rev-parse", "base^{tree}", cwd=tree), prereq.compiler(env)]
        arch = env["arch"].replace("powerpcle", "powerpc")
        self.arch = f"arch/{arch.replace('x86_64', 'x86')}"
        self.words = ["make", "-s", f"-j{os.cpu_count()}", f"ARCH={arch}", f"O={self.build}", "W=1",
                      f"CROSS_COMPILE={env['cross_compile']}"]

    def check_out(self, commit):
        git("read-tree", "--reset", "-u", commit, cwd=self.source)      # files that do not change keep their times

    def configure(self, head):
        """Save the configuration at the commit `head`, which has all symbols, as self.saved."""
        files = {path: blob for path, blob in series.blobs(self.tree, head, self.touched).items() if "config" in path.lower()}
        inputs = digest(environments.inputs(self.env), self.settings, files)
        self.saved = self.build / f"{inputs[:16]}.config"
        if not self.saved.exists():
            self.build.mkdir(parents=True, exist_ok=True)
            (self.build / ".config").unlink(missing_ok=True)     # else kunit.py may keep it
            self.check_out(head)
            run([sys.executable, "-B", "tools/testing/kunit/kunit.py", "config", *guests.options(self.env, self.build)],
                    env=self.environ, cwd=self.source)
            write(self.saved, (self.build / ".config").read_bytes())

    def make(self, *goals):
        """(exit status, output with paths as in the patches) of make."""
        done = run([*self.words, *goals], check=False, env=self.environ, cwd=self.source)
        if "No space left on device" in done.stdout:
            raise Stop(disk_full(self.build))
        # ccache makes paths relative.
        return done.returncode, done.stdout.replace(f"{self.source}/", "").replace(f"../{self.source.name}/", "")

    def builds(self, path, known):
        """Whether kbuild compiles the object `path`, or goes into the directory of this name."""
        for place in path.parents[:-1]:
            if place not in known:
                makefile = next(filter(Path.exists, (self.source / place / name for name in ("Kbuild", "Makefile"))), None)
                known[place] = {place / name for name in run(
                    ["make", "-rs", "-f", "/dev/null", f"srctree={self.source}", "BITS=64", f"--eval={OBJECTS.format(makefile)}"],
                    cwd=self.build, env=self.environ).stdout.split()} if makefile else set()
            if path in known[place] and (str(place.parent) in (".", self.arch) or self.builds(place, known)):
                return True
        return False

    def compile(self, commit, files):
        """Compile those of `files` that belong to this kernel at `commit`; (the objects, the line that says what is wrong or None)."""
        self.check_out(commit)
        ours = added(git("diff", "-U0", "--no-color", "--no-ext-diff", "base", commit, cwd=self.tree))
        symbols = [(path, blob) for path, blob in files.items() if "Kconfig" in path]
        if symbols != self.symbols:     # make drops those that this commit does not have yet
            shutil.copy(self.saved, self.build / ".config")
            if bad := problem(*self.make("olddefconfig"), ours):
                return [], bad
            self.symbols = symbols
        known, goals, pending = {}, [], self.build / "pending"
        for path in map(Path, self.touched):
            if path.suffix == ".c" and (path.parts[0] != "arch" or path.is_relative_to(self.arch)):
                goal = path.with_suffix(".o")
                if pending.exists():        # the last attempt failed or was killed: the compiler has to speak again
                    (self.build / goal).unlink(missing_ok=True)
                if self.builds(goal, known):
                    if str(path) not in files:
                        return [], f"a Makefile names {goal}, but there is no {path}"
                    goals.append(str(goal))
        pending.touch()
        bad = problem(*self.make(*goals), ours) if goals else None
        if not bad:
            pending.unlink()
        return goals, bad

    def compile_all(self, patches, good, memory):
        """Compile those of `patches` ({name: commit}) that are not `good`, and add them to it; whether all are, now."""
        built, bad = 0, None
        with step(f"{self.env['name']}: {len(patches)} commits") as this:
            self.configure(list(patches.values())[-1])
            config = self.saved.read_text(encoding="utf-8")
            for number, (name, commit) in enumerate(patches.items(), 1):
                files = series.blobs(self.tree, commit, self.touched)
                if (key := digest(self.settings, config, files)) in good:
                    continue
                built += 1
                this.beat(f"commit {number}")
                goals, bad = self.compile(commit, files)
                if bad:
                    break
                good[key] = [self.env["name"], name, *goals]
                write(memory, json.dumps(good, indent=1) + "\n")
            this.result = f"commit {number} FAILED" if bad else f"good, {built} built"
        if bad:
            say(f"FAIL: {name} {git('log', '-1', '--format=%s', commit, cwd=self.tree).strip()}: {self.env['name']}: {bad}")
        return not bad


def main():
    envs = environments.choose(os.environ.get("ENV", "").strip() or DEFAULT)
    prereq.ensure([{**env, "qemu": "", "needs": [need for need in env["needs"] if need.endswith(".h")]} for env in envs])     # no guest
    hold("bisect")
    one = series.chosen()
    with lock(f"series-{one.base}"):
        tree = series.current_tree(one)
    patches = {f"{name}/{number:04}": commit for name, (_, *commits) in series.split(tree).items()
               for number, commit in enumerate(commits, 1)}
    touched = sorted(set(git("log", "--format=", "--name-only", "--no-renames", "base..HEAD", cwd=tree).splitlines()))
    source = CACHE / "bisect" / one.base / "src"
    if not source.exists():
        need_space(source, 2500, "the sources of make bisect")
    series.borrow(source, tree)
    (source / ".git/index.lock").unlink(missing_ok=True)     # of a run that was killed; no other runs now
    memory = source.with_name("good.json")
    good = json.loads(memory.read_text(encoding="utf-8")) if memory.exists() else {}
    known, names = len(good), [env["name"] for env in envs]
    if not all([Kernel(env, tree, source, touched).compile_all(patches, good, memory) for env in envs]):    # a list: try all
        return 1
    compiled = {Path(goal).with_suffix(".c") for env, _, *goals in good.values() if env in names for goal in goals}
    if left := [path for path in touched if path.endswith(".c") and Path(path) not in compiled]:
        say(f"note: none of them compiles {', '.join(left)}")
    say(f"{len(patches)} commits x {len(envs)} architectures: good ({len(good) - known} built, rest remembered)")
    return 0


if __name__ == "__main__":
    run_main(main)
