# SPDX-License-Identifier: GPL-2.0-only
"""Do the suites have teeth? Builds and runs each fault of tools/faults.toml.

    python3 tools/faults.py [NAME ...]
    python3 tools/faults.py --table     print the table for docs/behaviours.md

A fault is found if the cases that it names fail and, unless it is broad, no others. The kernel is rebuilt
without faults at the end. Results go to out/faults.json. BASE= and KDIR= choose
the kernel, as for make run.
"""

import json
import os
import sys
import tomllib

import kvm_probe
import prereq
import run
import verdict
import worktree
from common import OUT, ROOT, Stop, run_main, say, write


def faults(names):
    """{name: table} of the faults called `names`, or all."""
    tables = tomllib.loads((ROOT / "tools/faults.toml").read_text(encoding="utf-8"))
    if unknown := [name for name in names if name not in tables]:
        raise Stop(f"unknown fault {', '.join(unknown)}: there are {', '.join(tables)}")
    return {name: table for name, table in tables.items() if not names or name in names}


def table(tables):
    """The lines of the table in docs/behaviours.md."""
    yield "| fault | in | seen in | cases |"
    yield "|---|---|---|---|"
    for name, fault in tables.items():
        yield (f"| `{name}`{' (broad)' if fault.get('broad') else ''} | {fault['file']} | {fault['env']} | "
               f"{', '.join(f'`{case}`' for case in fault['red'])} |")


def overlay(work, name, fault):
    """The faulty file, as worktree.prepare() takes it."""
    text = (work.path / fault["file"]).read_text(encoding="utf-8")
    if text.count(fault["old"]) != 1:
        raise Stop(f"fault {name}: its `old` text stands {text.count(fault['old'])} times in {fault['file']}, not once; "
                   "bring tools/faults.toml up to date")
    return {fault["file"]: text.replace(fault["old"], fault["new"]).encode()}


def try_fault(kunit, work, env, name):
    """(Names of the cases that fail, everything wrong with the run) on the kernel of `work`."""
    out = OUT / "faults" / name
    out.mkdir(parents=True, exist_ok=True)
    try:
        run.build(kunit, work, env, out / "kunit.txt")
    except run.BuildFailure as failure:
        raise Stop(f"fault {name} does not build: {failure.args[0][0]}") from None
    judged, _ = run.guest(kunit, work, env, "", out)
    red = sorted(f"{suite.name}.{case.name}" for suite, case in judged.cases() if case.status in (verdict.FAIL, verdict.ERROR))
    return red, judged.reasons


def main():
    if sys.argv[1:] == ["--table"]:
        print(*table(faults([])), sep="\n")
        return 0
    wanted = faults(sys.argv[1:])
    envs = {env["name"]: env for env in run.choose(" ".join({fault["env"] for fault in wanted.values()}))}
    prereq.ensure(envs.values())
    source = os.environ.get("BASE") or None, os.environ.get("KDIR") or None
    clean = worktree.prepare(*source)
    files = {name: overlay(clean, name, fault) for name, fault in wanted.items()}
    kunit = run.Kunit(clean, {(env["qemu"], kvm_probe.accelerator(env["qemu"])) for env in envs.values() if env["qemu"]})
    rows = []
    for name, fault in wanted.items():
        say(f"fault {name}: {fault['file']}, to be seen in {fault['env']}")
        red, reasons = try_fault(kunit, worktree.prepare(*source, overlay=files[name]), envs[fault["env"]], name)
        missing = sorted(set(fault["red"]) - set(red))
        extra = [] if fault.get("broad") else sorted(set(red) - set(fault["red"]))
        found = bool(fault["red"]) and not missing and not extra
        rows.append({"fault": name, "environment": fault["env"], "found": found, "red": red, "reasons": reasons})
        if found:
            say(f"    found by {len(red)} cases")
            continue
        for case in missing:
            say(f"    still passes: {case}")
        for case in extra:
            say(f"    fails, but is not named: {case}")
        if not red:
            say(f"    no case fails; {'; '.join(reasons) or 'the run passed'}")
    clean = worktree.prepare(*source)
    for env in envs.values():
        run.build(kunit, clean, env, OUT / "faults" / "kunit.txt")
    write(OUT / "faults.json", json.dumps(rows, indent=1) + "\n")
    missed = [row["fault"] for row in rows if not row["found"]]
    say(f"{len(rows) - len(missed)} of {len(rows)} faults found" + (f"; not: {', '.join(missed)}" if missed else ""))
    return 1 if missed else 0


if __name__ == "__main__":
    run_main(main)
