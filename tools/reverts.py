# SPDX-License-Identifier: GPL-2.0-only
"""make revert-tests: is each patch of the series needed, and do the suites notice when it is missing?

    FILTER=SUBSTRING    only patches with it in their subject or file name, for example 04-mm-fixes
    ENV=um,x86_64|all   only what these environments show (default: all)
    BASE= and KDIR=     the kernel, as for make run

Leaves out one patch at a time, builds and runs what remains, and expects exactly the cases to fail that
tools/reverts.toml names for the patch. Results go to out/reverts.json. The kernels are rebuilt with all patches at the end.
"""

import json
import os
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
    for name, entry in tables.items():
        if not any(name in subjects for subjects in found.values()):
            yield f'{DATA}: no patch has the subject "{name}"'
        if not isinstance(entry, dict):
            yield f'{DATA}: "{name}": is not a table'
        elif unknown := sorted(entry.keys() - FIELDS):
            yield f'{DATA}: "{name}": unknown field {", ".join(unknown)}'
        elif "none" in entry and len(entry) > 1 or \
                "none" not in entry and not (entry.get("red") and (entry.get("env") or isinstance(entry["red"], dict))):
            yield f'{DATA}: "{name}": needs `env` and `red`, or only `none` with a reason'


def choose(tables, found, word):
    """{subject: table} of the patches with `word` in their name or subject, without those that nothing can notice."""
    chosen = {name: tables[name] for subjects in found.values() for name, patch in subjects.items()
              if word in name or word in patch.name}
    if not chosen:
        raise Stop(f"no patch has '{word}' in its subject or file name")
    wanted = {name: entry for name, entry in chosen.items() if "none" not in entry}
    if not wanted:
        raise Stop("nothing to leave out: " + "; ".join(f"{name}: {entry['none']}" for name, entry in chosen.items()))
    return wanted


def left_out(work, name, entry, patch):
    """The files of `work` without `patch`, as worktree.prepare() takes them."""
    if "edits" in entry:
        return edited(work, f"patch {name}", entry["edits"], DATA)
    touched = sorted(touched_by([patch]))
    with tempfile.TemporaryDirectory() as temp:
        top = Path(os.path.realpath(temp))
        for path in touched:
            if (work.path / path).is_file():
                write(top / path, (work.path / path).read_bytes())
        if bad := worktree.git_apply([patch.path], top, "-R"):
            raise Stop(f"patch {name} can not simply be reverted: {bad} has changed since; add `edits` to its entry in {DATA}")
        return {path: (top / path).read_bytes() if (top / path).exists() else None for path in touched}


def main():
    tables, found = load(DATA, SERIES), patches()
    if fault := next(problems(tables, found), None):
        raise Stop(fault)
    base = os.environ.get("BASE")
    wanted = choose(tables, {base: found[base]} if base in found else found, os.environ.get("FILTER", "").strip())
    asked = environments.choose(os.environ.get("ENV", "").strip() or "all")
    envs = [env for env in environments.choose(" ".join({env for entry in wanted.values() for env in seen(entry)})) if env in asked]
    wanted = {name: entry for name, entry in wanted.items() if seen(entry).keys() & {env["name"] for env in envs}}
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
