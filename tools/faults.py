# SPDX-License-Identifier: GPL-2.0-only
"""Do the suites have teeth? Builds and runs each fault of tools/faults.toml.

    python3 tools/faults.py [NAME ...]
    python3 tools/faults.py --core      leave out those marked `rest`: what make test has time for

A fault is found if the cases that it names fail and, unless it is broad, no others. The kernel is rebuilt
without faults at the end. Results go to out/faults.json. BASE= and KDIR= choose
the kernel, as for make run, and ENV= leaves out what other environments have to see.
"""

import json
import os
import re
import sys
import tomllib

import environments
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


def edited(work, name, edits, data="tools/faults.toml"):
    """{path: content} of the files that `edits` (file, old, new) change, as worktree.prepare() takes it.

    `name` of the file `data` is whom the user hears of when they do not fit.
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
    """{environment: the cases that have to fail there} of a fault."""
    if isinstance(table["red"], dict):
        return table["red"]
    return {env: table["red"] for env in ([table["env"]] if isinstance(table["env"], str) else table["env"])}


def try_fault(kunit, work, env, name, out):
    """(Names of the cases that fail, everything wrong with the run) on the kernel of `work`."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        run.build(kunit, work, env, out / "kunit.txt")
    except run.BuildFailure as failure:
        raise Stop(f"{name} does not build: {failure.args[0][0]}") from None
    judged, _ = run.guest(kunit, work, env, "", out)
    red = sorted(f"{suite.name}.{case.name}" for suite, case in judged.cases()
                 if case.status in (verdict.FAIL, verdict.ERROR))
    return red, judged.reasons


def report(table, env, red, reasons):
    """Whether the cases `red` are those that have to fail; says what differs."""
    wanted = set(seen(table)[env])
    missing = sorted(wanted - set(red))
    extra = [] if table.get("broad") else sorted(set(red) - wanted)
    if wanted and not missing and not extra:
        say(f"    found by {len(red)} cases")
        return True
    for case in missing:
        say(f"    still passes: {case}")
    for case in extra:
        say(f"    fails, but is not named: {case}")
    if not red:
        say(f"    no case fails; {'; '.join(reasons) or 'the run passed'}")
    return False


def prove(kind, place, wanted, overlay):
    """Build and run every one of `wanted` ({name: table}); the exit code is 0 if all were found.

    overlay(work, name, table) gives the files that differ from the tree of the series, which is
    rebuilt at the end. Logs go to the directory `place` in out/, results to its namesake with .json.
    """
    asked = {env["name"] for env in environments.choose(os.environ.get("ENV", "").strip() or "all")}
    named = " ".join({env for table in wanted.values() for env in seen(table)})
    envs = {env["name"]: env for env in environments.choose(named) if env["name"] in asked}
    wanted = {name: table for name, table in wanted.items() if envs.keys() & seen(table).keys()}
    if not wanted:
        raise Stop(f"nothing to be seen in ENV={os.environ['ENV']}")
    results = OUT / f"{place}.json"
    results.unlink(missing_ok=True)
    prereq.ensure(envs.values())
    source = os.environ.get("BASE") or None, os.environ.get("KDIR") or None
    clean = worktree.prepare(*source)
    files = {name: overlay(clean, name, table) for name, table in wanted.items()}
    emulators = {env["qemu"] for env in envs.values() if env["qemu"]}
    kunit = run.Kunit(clean, {(qemu, kvm_probe.accelerator(qemu)) for qemu in emulators})
    rows = []
    for name, table in wanted.items():
        work = worktree.prepare(*source, overlay=files[name])
        for env in [env for env in seen(table) if env in envs]:
            say(f"{kind} {name}: to be seen in {env}")
            out = OUT / place / re.sub(r"\W+", "-", name).strip("-") / env
            red, reasons = try_fault(kunit, work, envs[env], f"{kind} {name}", out)
            rows.append({kind.split()[-1]: name, "environment": env, "found": report(table, env, red, reasons),
                         "red": red, "reasons": reasons})
    clean = worktree.prepare(*source)
    for env in envs.values():
        run.build(kunit, clean, env, OUT / place / "kunit.txt")
    write(results, json.dumps(rows, indent=1) + "\n")
    missed = [f"{kind} {name} in {env}" for name, env, found, *_ in map(dict.values, rows) if not found]
    say(f"{len(rows) - len(missed)} of {len(rows)} found" + (f"; not: {', '.join(missed)}" if missed else ""))
    return 1 if missed else 0


def main():
    core = "--core" in sys.argv[1:]
    wanted = {name: fault for name, fault in faults([word for word in sys.argv[1:] if word != "--core"]).items()
              if not (core and fault.get("rest"))}
    return prove("fault", "faults", wanted, lambda work, name, fault: edited(work, f"fault {name}", [fault]))


if __name__ == "__main__":
    run_main(main)
