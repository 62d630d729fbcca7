#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""make check: everything about this repository that can be verified without building a kernel.

Prints one line per check with its duration and goes on after a failure; exit code 1
if any failed. What cannot run here (a tool or the network is missing) is "skipped",
with the reason.
"""

import concurrent.futures
import fnmatch
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import base
import docs
import environments
import prereq
import reverts
import series
import variants
from common import BASES, CACHE, KERNEL_DIRS, SERIES, Stop, run, run_main, say, stopping, write

LARGE = 300 << 10       # bytes
TESTS_TIMEOUT = 600     # seconds

# checkpatch.pl findings that do not count, and why.
CHECKPATCH_IGNORE = {
    "FILE_PATH_CHANGES": "asks whether MAINTAINERS needs an update; a patch of the series has it",
    "UNKNOWN_COMMIT_ID": "the base has no git history to find the commit of a Fixes: tag in",
}
SPARSE = "EMAIL_SUBJECT"    # takes the file name in the prefix mm/sparse-vmemmap: for the tool sparse

# Files without an SPDX line, and why.
NO_SPDX = {
    "COPYING": "the licence",
    "patches/*": "mail; the files inside have theirs",
    "*.md": "prose, under COPYING",
    ".gitignore": "too small to own",
    "*.kunitconfig": "the kernel's have none",
    "tools/tests/data/*": "recorded output",
}


class Repo:
    """The checkout under test: its path and its files."""

    def __init__(self, root=SERIES):
        self.root = Path(root)
        listed = series.git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=self.root)
        self.files = sorted(name for name in set(listed.split("\0")) if name and (self.root / name).is_file())

    def read(self, name):
        return (self.root / name).read_text(encoding="utf-8", errors="replace")

    def matching(self, *patterns):
        return [name for name in self.files if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]

    def scripts(self, *interpreters):
        """Files whose first line starts one of `interpreters`."""
        found = []
        for name in self.files:
            with open(self.root / name, "rb") as file:
                if re.match(rb"#!.*\b(%s)\b" % b"|".join(map(str.encode, interpreters)), file.readline(200)):
                    found.append(name)
        return found


class Skip(Exception):
    """The check cannot run here; the text says why."""


def some(found, what):
    """`found`, or Skip if it is empty: a check that looked at nothing did not pass."""
    if not found:
        raise Skip(f"there are no {what}")
    return found


def pristine(name):
    """The path of base `name`; Skip if there is none and none can be had."""
    try:
        return Path(base.cached(name) or base.get_base(name))
    except Stop as stop:
        raise Skip(f"no base kernel: {stop}") from None


# Each check yields one line per fault.

def python_syntax(repo):
    for name in sorted({*repo.matching("*.py"), *repo.scripts("python3")}):
        try:
            compile(repo.read(name), name, "exec")
        except SyntaxError as error:
            yield f"{name}:{error.lineno}: {error.msg}"


def shell_scripts(repo):
    """With shellcheck, or for want of it the syntax only."""
    for name in some(sorted({*repo.matching("*.sh"), *repo.scripts("sh", "bash")}), "shell scripts"):
        shell = "bash" if name in repo.scripts("bash") else "sh"
        tool = ["shellcheck", "-f", "gcc"] if shutil.which("shellcheck") else [shell, "-n"]
        yield from tool_lines([*tool, name], repo.root)


def tool_lines(command, cwd):
    """The output lines of `command`, at least one if it fails."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode and not lines:
        lines = [f"{' '.join(map(str, command))}: exit code {done.returncode}"]
    return lines


def spdx(repo):
    for name in repo.files:
        if any(fnmatch.fnmatch(name, pattern) for pattern in NO_SPDX):
            continue
        lines = repo.read(name).split("\n", 2)
        line = lines[1] if lines[0].startswith("#!") and len(lines) > 1 else lines[0]
        if not re.search(r"SPDX-License-Identifier: GPL-2\.0-only\b", line):
            yield f"{name}: the first line is no `SPDX-License-Identifier: GPL-2.0-only`"


def sizes(repo):
    for name in repo.files:
        data = (repo.root / name).read_bytes()
        if len(data) > LARGE:
            yield f"{name}: {len(data) >> 10} kB, {LARGE >> 10} kB are allowed"
        if b"\0" in data:
            yield f"{name}: a binary file"


def whitespace(repo):
    for name in repo.files:
        if name == "COPYING" or name.startswith(("patches/", "tools/tests/data/")):
            continue
        text = repo.read(name)
        for number, line in enumerate(text.split("\n"), 1):
            if line != line.rstrip():
                yield f"{name}:{number}: white space at the end"
            if re.match(r"[ \t]* \t", line):
                yield f"{name}:{number}: space before tab"
        if text and not text.endswith("\n") or text.endswith("\n\n"):
            yield f"{name}: should end with exactly one newline"


def kunitconfig(repo):
    for name in some(repo.matching("*.kunitconfig", "tools/configs/*.config"), ".kunitconfig files"):
        for number, line in enumerate(repo.read(name).splitlines(), 1):
            option = r"(CONFIG_\w+=(y|m|n|-?\d+|0x[0-9a-fA-F]+|\".*\")|# CONFIG_\w+ is not set)"
            if line.strip() and not re.fullmatch(option, line) and not re.match(r"#(?! ?CONFIG_)", line):
                yield f"{name}:{number}: neither CONFIG_X=... nor `# CONFIG_X is not set`: {line}"


def anchors(text):
    """The anchors of a Markdown page: those of its headings, as GitHub names them, and <a id=...>."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))


def links(repo):
    for name in some(repo.matching("*.md"), "*.md files"):
        text = re.sub(r"^```.*?^```", "", repo.read(name), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", path):
                continue
            file = (repo.root / name).parent.joinpath(path) if path else repo.root / name
            if not file.exists():
                yield f"{name}: links to {target}, which does not exist"
            elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text(encoding="utf-8")):
                yield f"{name}: links to {target}, where there is no such heading"


def kunit_cases(repo):
    """{"suite.case"} of the KUnit suites among the repository's kernel files."""
    found = set()
    for name in repo.matching(*(f"{top}/*.c" for top in KERNEL_DIRS)):
        text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", repo.read(name), flags=re.S)
        arrays = {array: re.findall(r"\bKUNIT_CASE\w*\(\s*(\w+)", body)
                  for array, body in re.findall(r"struct kunit_case (\w+)\[\]\s*=\s*\{(.*?)\n\}", text, re.S)}
        for body in re.findall(r"struct kunit_suite \w+\s*=\s*\{(.*?)\n\}", text, re.S):
            suite = re.search(r"\.name\s*=\s*\"([^\"]+)\"", body)
            array = re.search(r"\.test_cases\s*=\s*(\w+)", body)
            if suite and array:
                found |= {f"{suite[1]}.{case}" for case in arrays.get(array[1], ())}
    return found


def behaviours(repo):
    return docs.problems(repo.root, kunit_cases(repo))


def generated(repo):
    return docs.stale(repo.root)


def by_hand(repo):
    """The cases that kill the mutants written by hand exist."""
    known = kunit_cases(repo)
    for name, table in tomllib.loads(repo.read("tools/mutants.toml"))["by-hand"].items():
        for case in table["red"]:
            if case not in known:
                yield f"tools/mutants.toml: {name}: no KUnit case {case}"


def left_out(repo):
    """tools/reverts.toml and the patches agree, and its cases run where they should."""
    tables = variants.load(reverts.DATA, repo.root)
    if found := list(reverts.problems(tables, reverts.patches(repo.root))):
        yield from found
        return
    known, envs = kunit_cases(repo), environments.load(repo.root)
    for name, table in tables.items():
        for env, cases in ({} if "none" in table else variants.seen(table)).items():
            if env not in envs:
                yield f'{reverts.DATA}: "{name}": no environment {env} in tools/environments.toml'
                continue
            for case in cases:
                if case not in known:
                    yield f'{reverts.DATA}: "{name}": no KUnit case {case}'
                elif not docs.runs(case, envs[env]):
                    yield f'{reverts.DATA}: "{name}": {case} does not run in {env}'


def all_series(repo):
    """A Series for each base that has patches."""
    return some([one for one in (series.Series(name, repo.root) for name in BASES) if one.list()], "patches")


def series_check(repo):
    """The only one that may print a note: the base has moved on."""
    if not repo.matching("patches/*.patch"):
        yield "patches/: no series"
        return
    for one in all_series(repo):
        yield from series.check(one, pristine(one.base))


def checkpatch(repo):
    if not prereq.present("Term/ANSIColor.pm"):
        raise Skip("perl is incomplete: apt-get install perl")

    def one_patch(job):
        one, tree, path = job
        # What was clean is clean.
        known = CACHE / "checkpatch" / hashlib.sha256(path.read_bytes() + (tree / "scripts/checkpatch.pl").read_bytes()).hexdigest()
        if known.exists():
            return []
        text = path.read_text(encoding="utf-8", errors="replace").split("\n")
        removed = {line[1:] for line in text if line.startswith("-")}
        faults = []
        for line in tool_lines(["perl", "scripts/checkpatch.pl", "--strict", "--no-signoff", "--terse", "--no-summary", "--show-types", path], tree):
            found = re.match(r".*?:(\d+): (?:ERROR|WARNING|CHECK):(\w+): ", line)
            if found:
                where = text[int(found[1]) - 1] if int(found[1]) <= len(text) else ""
                moved = where.startswith("+") and where[1:] in removed      # is not for a move to mend
                # What a struct_group() has in its parentheses are declarations, not arguments.
                member = found[2] == "PARENTHESIS_ALIGNMENT" and re.match(r"\+\t+[\w ]+ \w+;$", where)
                if found[2] in CHECKPATCH_IGNORE or moved or member or found[2] == SPARSE and "mm/sparse" in where:
                    continue
            faults.append(line.replace(str(path), one.name(path)))
        if not faults:
            write(known, "")
        return faults

    jobs = []
    for one in all_series(repo):
        tree = pristine(one.base)
        jobs += [(one, tree, path) for path in one.list()]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for faults in pool.map(one_patch, jobs):
            yield from faults


def kernel_doc(repo):
    names = some(repo.matching(*(f"{top}/*.[ch]" for top in KERNEL_DIRS)), "kernel files")
    tool = pristine(all_series(repo)[0].base) / "scripts/kernel-doc"
    yield from tool_lines([tool, "-none", "-Wall", "-Werror", *names], repo.root)


CHECKS = (
    ("python syntax", python_syntax), ("shell scripts", shell_scripts), ("SPDX lines", spdx),
    ("file sizes", sizes), ("white space", whitespace), ("Kconfig fragments", kunitconfig), ("links in *.md", links),
    ("tools/behaviours.toml", behaviours), ("generated docs", generated), ("tools/mutants.toml", by_hand), (reverts.DATA, left_out),
    ("patches and files agree", series_check),
    ("checkpatch.pl --strict", checkpatch), ("kernel-doc", kernel_doc),
)


def unit_tests(name, root):
    """(passed, faults, skipped) of the tests in tools/tests/`name`."""
    clean = {key: value for key, value in os.environ.items()
             if key not in ("BASE", "ENV", "FILTER", "KDIR", "GITTREE", "VMEM_ALTMAP_SERIES", "VMEM_ALTMAP_OUT")}
    try:
        done = run([sys.executable, "-B", "-m", "unittest", "discover", "-v", "-s", "tools/tests", "-p", name], check=False,
                   cwd=root, env=clean | {"PYTHONPATH": str(root / "tools")}, timeout=TESTS_TIMEOUT)
    except Stop as stop:
        return 0, [f"{name}: {stop}"], 0
    ran = re.search(r"^Ran (\d+) tests? in", done.stdout, re.M)
    if not ran or not int(ran[1]):
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        return 0, [f"{name}: no tests, exit code {done.returncode}: {last}"], 0
    faults = re.findall(r"^((?:FAIL|ERROR|UNEXPECTED SUCCESS): .*)$", done.stdout, re.M)
    skipped = int((re.search(r"skipped=(\d+)", done.stdout) or [0, 0])[1])
    if done.returncode and not faults:
        faults = [f"{name}: exit code {done.returncode}"]
    return max(0, int(ran[1]) - skipped - len(faults)), faults, skipped


class Tally:
    """Counts of checks, tests and cases."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def count(self, passed, failed, skipped=0):
        self.passed, self.failed, self.skipped = self.passed + passed, self.failed + failed, self.skipped + skipped

    def report(self, name, start, passed, faults=(), skipped=0, note=""):
        """Count and print what the check `name`, which began at `start`, came to: numbers, and a line per fault."""
        self.count(passed, len(faults), skipped)
        word = "FAIL" if faults else "pass" if passed else "skip"
        note = note or (f"{passed} passed, {skipped} skipped" if passed > 1 else "")
        say(f"{word}  {time.monotonic() - start:5.1f} s  {name}{': ' + note if note else ''}", *(f"      {line}" for line in faults))

    def conclude(self, more=""):
        """Print the counts; the exit code is 0 only if something passed and nothing failed."""
        say(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped{more}")
        return 1 if self.failed or not self.passed else 0


def one_check(tally, name, function, repo):
    start = time.monotonic()
    try:
        faults = list(function(repo))
    except Skip as skip:
        tally.report(name, start, 0, skipped=1, note=str(skip))
        return
    except Stop as stop:
        faults = [str(stop)]
    tally.report(name, start, 0 if faults else 1, faults)


def all_checks(tally, root=SERIES):
    """Run and count all checks and the tools' own tests."""
    repo, start = Repo(root), time.monotonic()
    names = sorted(repo.matching("tools/tests/test_*.py"), key=lambda name: -len(repo.read(name)))      # long ones first
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            tests = [pool.submit(unit_tests, Path(name).name, repo.root) for name in names]
            for name, function in CHECKS:
                one_check(tally, name, function, repo)
            passed, faults, skipped = zip(*[test.result() for test in tests] or [(0, ["there are no unit tests"], 0)])
        except BaseException:
            stopping.set()
            pool.shutdown(cancel_futures=True)
            raise
    tally.report("unit tests", start, sum(passed), sum(faults, []), sum(skipped))


def main():
    start, tally = time.monotonic(), Tally()
    all_checks(tally)
    return tally.conclude(f" in {time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    run_main(main)
