# SPDX-License-Identifier: GPL-2.0-only
"""make revert-tests: is each patch of the series needed, and do the suites notice when it is missing?

    FILTER=SUBSTRING    only patches with it in their subject or file name, for example 04-mm-fixes
    ENV=um,x86_64|all   only what these environments show (default: all)
    BASE= and KDIR=     the kernel, as for make run

    python3 tools/reverts.py --table    print the table for docs/behaviours.md

Leaves out one patch at a time, builds and runs what remains, and expects exactly the cases to fail that
tools/reverts.toml names for the patch. Results go to out/reverts.json. The kernels are rebuilt with all patches at the end.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import environments
import worktree
from common import BASES, OUT, SERIES, Stop, run_main, write
from series import Patch, Series, touched_by
from variants import Bench, conclude, edited, load, seen

DATA = "tools/reverts.toml"
FIELDS = {"env", "red", "broad", "edits", "none"}


def patches(root=SERIES):
    """{base: {subject: Patch}} of the repository at `root`."""
    return {base: {patch.subject: patch for patch in map(Patch, Series(base, root).list())} for base in BASES}


def problems(tables, found):
    """One line for each patch without an entry, entry without a patch, and entry that says nothing."""
    for base, subjects in found.items():
        for subject, patch in subjects.items():
            if subject not in tables:
                yield f'{DATA}: no entry for patches/{base}/{patch.name}: add ["{subject}"]'
    for name, table in tables.items():
        if not any(name in subjects for subjects in found.values()):
            yield f'{DATA}: no patch has the subject "{name}"'
        if unknown := sorted(table.keys() - FIELDS):
            yield f'{DATA}: "{name}": unknown field {", ".join(unknown)}'
        elif "none" in table and len(table) > 1:
            yield f'{DATA}: "{name}": `none` is a reason, and stands alone'
        elif "none" not in table and not (table.get("red") and (table.get("env") or isinstance(table["red"], dict))):
            yield f'{DATA}: "{name}": needs `env` and `red`, or `none` with a reason'


def choose(tables, found, word):
    """{subject: table} of the patches with `word` in their name or subject, without those that nothing can notice."""
    names = {name: " ".join([name, *(subjects[name].name for subjects in found.values() if name in subjects)])
             for name in tables if any(name in subjects for subjects in found.values())}
    chosen = {name: tables[name] for name, text in names.items() if word in text}
    if not chosen:
        raise Stop(f"no patch has '{word}' in its subject or file name: there are {'; '.join(names)}")
    wanted = {name: table for name, table in chosen.items() if "none" not in table}
    if not wanted:
        raise Stop("nothing to leave out: " + "; ".join(f"{name}: {table['none']}" for name, table in chosen.items()))
    return wanted


def left_out(work, name, table, patch):
    """The files of `work` without `patch`, as worktree.prepare() takes them."""
    if "edits" in table:
        return edited(work, f"patch {name}", table["edits"], DATA)
    touched = sorted(touched_by([patch]))
    with tempfile.TemporaryDirectory() as temp:
        top = Path(os.path.realpath(temp))
        for path in touched:
            if (work.path / path).is_file():
                write(top / path, (work.path / path).read_bytes())
        if bad := worktree.git_apply(patch.path, top, "-R"):
            raise Stop(f"patch {name} can not simply be reverted: {bad} has changed since; add `edits` to its entry in {DATA}")
        return {path: (top / path).read_bytes() if (top / path).exists() else None for path in touched}


def table(tables):
    """The lines of the table in docs/behaviours.md."""
    yield from ("| without the patch | killed in | cases |", "|---|---|---|")
    for name, entry in tables.items():
        for env, red in ({} if "none" in entry else seen(entry)).items():
            yield f"| {name}{' (broad)' if entry.get('broad') else ''} | {env} | {', '.join(f'`{case}`' for case in red)} |"
        if "none" in entry:
            yield f"| {name} | | {entry['none']} |"


def main():
    tables, found = load(DATA, SERIES), patches()
    if fault := next(problems(tables, found), None):
        raise Stop(fault)
    if sys.argv[1:] == ["--table"]:
        print(*table(tables), sep="\n")
        return 0
    base = os.environ.get("BASE")
    wanted = choose(tables, {base: found[base]} if base in found else found, os.environ.get("FILTER", "").strip())
    asked = [env["name"] for env in environments.choose(os.environ.get("ENV", "").strip() or "all")]
    named = {env for entry in wanted.values() for env in seen(entry)}
    if unknown := named - environments.load().keys():
        raise Stop(f"{DATA}: unknown environment {', '.join(sorted(unknown))}")
    envs = environments.choose(" ".join(named.intersection(asked)) or "all")
    wanted = {name: entry for name, entry in wanted.items() if seen(entry).keys() & set(asked)}
    if not wanted:
        raise Stop(f"nothing to be seen in ENV={os.environ['ENV']}")
    (OUT / "reverts.json").unlink(missing_ok=True)
    bench = Bench(envs, "reverts")

    def overlay(work, name, entry):
        if name not in found[work.base]:
            raise Stop(f"patches/{work.base} has no patch {name}")
        return left_out(work, name, entry, found[work.base][name])
    rows = bench.try_all("without patch", wanted, overlay)
    bench.restore()
    write(OUT / "reverts.json", json.dumps(rows, indent=1) + "\n")
    return conclude(rows)


if __name__ == "__main__":
    run_main(main)
