# SPDX-License-Identifier: GPL-2.0-only
"""Kernels that differ from the series, for mutants.py and reverts.py: built, run, put back; the cases that have to fail."""

import collections
import os
import re
import resource
import tomllib

import kvm_probe
import prereq
import run
import verdict
import worktree
from common import OUT, ROOT, Stop, say


def load(name, root=ROOT):
    """The tables of the file `name`."""
    try:
        return tomllib.loads((root / name).read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Stop(f"{name}: {error}") from None


def edited(work, name, edits, data):
    """{path: content} of the files that `edits` (file, old, new) change, as worktree.prepare() takes it.

    `name` and the file `data` tell the user what does not fit.
    """
    files = {}
    for edit in edits:
        path = edit["file"]
        if path not in files and not (work.path / path).is_file():
            raise Stop(f"{name}: there is no file {path}; bring {data} up to date")
        text = files.get(path) or (work.path / path).read_text(encoding="utf-8")
        if text.count(edit["old"]) != 1:
            raise Stop(f"{name}: its `old` text stands {text.count(edit['old'])} times in {path}, not once; "
                       f"bring {data} up to date")
        files[path] = text.replace(edit["old"], edit["new"])
    return {path: text.encode() for path, text in files.items()}


def seen(table):
    """{environment: the cases that have to fail there} of an entry of tools/mutants.toml or tools/reverts.toml."""
    if isinstance(table["red"], dict):
        return table["red"]
    return {env: table["red"] for env in ([table["env"]] if isinstance(table["env"], str) else table["env"])}


class Bench:
    """The environments `envs` with the kernel that BASE= or KDIR= choose; `place` is the directory for logs in out/."""

    def __init__(self, envs, place):
        self.envs, self.place = {env["name"]: env for env in envs}, OUT / place
        self.source = os.environ.get("BASE") or None, os.environ.get("KDIR") or None
        prereq.ensure(envs)
        self.clean = worktree.prepare(*self.source)
        emulators = {env["qemu"] for env in envs if env["qemu"]}
        self.kunit = run.Kunit(self.clean, {(qemu, kvm_probe.accelerator(qemu)) for qemu in emulators})

    def prepare(self, overlay=None):
        """The work tree with the files of `overlay` changed."""
        return worktree.prepare(*self.source, overlay=overlay)

    def build_and_run(self, work, env, name, out):
        """(Verdict, seconds, seconds of CPU) of all suites on the kernel of `work`, called `name`; logs go to `out`."""
        out.mkdir(parents=True, exist_ok=True)
        try:
            run.build(self.kunit, work, env, out / "kunit.txt")
        except run.BuildFailure as failure:
            raise Stop(f"{name} does not build: {failure.args[0][0]}") from None
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        judged, seconds = run.guest(self.kunit, work, env, "", out)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return judged, seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def try_all(self, kind, tables, overlay):
        """A row for each of `tables` and environment: whether exactly its cases fail. overlay(work, name, table) changes it."""
        files = {name: overlay(self.clean, name, table) for name, table in tables.items()}
        rows = []
        for name, table in tables.items():
            work = self.prepare(files[name])
            for env, red in seen(table).items():
                if env in self.envs:
                    say(f"{kind} {name}: to be killed in {env}")
                    out = self.place / re.sub(r"\W+", "-", name).strip("-") / env
                    judged, *_ = self.build_and_run(work, self.envs[env], f"{kind} {name}", out)
                    failed = sorted(f"{suite.name}.{case.name}" for suite, case in judged.cases()
                                    if case.status in (verdict.FAIL, verdict.ERROR))
                    killed = compare(red, failed, table.get("broad"), judged.reasons)
                    rows.append({"name": name, "environment": env, "status": "killed" if killed else "survived",
                                 "red": failed, "reasons": judged.reasons})
        return rows

    def restore(self):
        """Rebuild the kernels without changes: the next make run then finds them."""
        work = self.prepare()
        for env in {env["build"]: env for env in self.envs.values()}.values():
            run.build(self.kunit, work, env, self.place / "kunit.txt")


def compare(wanted, failed, broad, reasons):
    """Whether the cases `failed` are the `wanted` ones; says what differs. With `broad`, others may fail, too."""
    missing = sorted(set(wanted) - set(failed))
    extra = [] if broad else sorted(set(failed) - set(wanted))
    if wanted and not missing and not extra:
        say(f"    killed by {len(failed)} cases")
        return True
    for case in missing:
        say(f"    still passes: {case}")
    for case in extra:
        say(f"    fails, but is not named: {case}")
    if not failed:
        say(f"    no case fails; {'; '.join(reasons) or 'the run passed'}")
    return False


def conclude(rows):
    """Say how many of `rows` were killed. The exit code is 1 if a survivor has no `reason`, or one that was killed has."""
    wrong = [f"{row['name']} ({row['status']})" for row in rows
             if row["status"] != "equivalent" and bool(row.get("reason")) == (row["status"] == "killed")]
    count = collections.Counter(row["status"] for row in rows)
    say(f"{count['killed']} killed, {count['survived']} survived, {count['equivalent']} equivalent" +
        (f"; not as expected: {'; '.join(wrong[:10])}{'; ...' if len(wrong) > 10 else ''}" if wrong else ""))
    return 1 if wrong else 0
