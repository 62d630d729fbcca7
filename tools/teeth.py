# SPDX-License-Identifier: GPL-2.0-only
"""make teeth: is each patch of the series needed, and do the suites notice when it is missing?

    python3 tools/teeth.py [SUBSTRING ...]  those patches whose subject or file name has a SUBSTRING

Leaves out one patch at a time, builds and runs what remains, and expects exactly the cases to fail
that tools/teeth.toml names for the patch. The kernel is rebuilt with all patches at the end. Results
go to out/teeth.json. BASE= and KDIR= choose the kernel, as for make run, and ENV= leaves out what
other environments have to see.
"""

import os
import sys
import tempfile
import tomllib
from pathlib import Path

import worktree
from common import BASES, SERIES, Stop, run_main
from faults import edited, prove, seen
from series import Patch, Series, touched_by

DATA = "tools/teeth.toml"
FIELDS = {"env", "red", "broad", "edits", "none"}


def load(root=SERIES):
    """(tables of tools/teeth.toml, {base: {subject: Patch}}) of the repository at `root`."""
    try:
        tables = tomllib.loads((Path(root) / DATA).read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Stop(f"{DATA}: {error}") from None
    return tables, {base: {patch.subject: patch for patch in map(Patch, Series(base, root).list())} for base in BASES}


def problems(tables, patches):
    """One line for each patch without an entry, entry without a patch, and entry that says nothing."""
    for base, found in patches.items():
        for subject, patch in found.items():
            if subject not in tables:
                yield f'{DATA}: no entry for patches/{base}/{patch.name}: add ["{subject}"]'
    for name, table in tables.items():
        if not any(name in found for found in patches.values()):
            yield f'{DATA}: no patch has the subject "{name}"'
        if fault := misshapen(table):
            yield f'{DATA}: "{name}": {fault}'


def misshapen(table):
    """What is wrong with the form of an entry, or None."""
    def texts(value):
        return isinstance(value, list) and bool(value) and all(isinstance(one, str) and one for one in value)
    if not isinstance(table, dict):
        return "is not a table"
    if unknown := sorted(table.keys() - FIELDS):
        return f"unknown field {', '.join(unknown)}"
    if "none" in table:
        return None if texts([table["none"]]) and len(table) == 1 else "`none` is a reason, and stands alone"
    red, env = table.get("red"), table.get("env")
    if isinstance(red, dict):
        if not red or not all(map(texts, red.values())) or "env" in table:
            return "a table `red` has the cases of each environment, and there is no `env` then"
    elif not texts(red) or not (texts(env) or texts([env])):
        return "needs `env` and `red`, or `none` with a reason"
    if not isinstance(table.get("broad", False), bool):
        return "`broad` is true or false"
    edits = table.get("edits", [{"file": "", "old": "", "new": ""}])
    if not isinstance(edits, list) or not edits or not all(
            isinstance(edit, dict) and edit.keys() == {"file", "old", "new"} and
            all(isinstance(value, str) for value in edit.values()) for edit in edits):
        return "each of `edits` has `file`, `old` and `new`"
    return None


def choose(tables, patches, words):
    """{subject: table} of the patches that one of `words` names, or of all; without those that nothing can notice."""
    names = {name: " ".join([name, *(found[name].name for found in patches.values() if name in found)])
             for name in tables if any(name in found for found in patches.values())}
    for word in words:
        if not any(word in text for text in names.values()):
            raise Stop(f"no patch has '{word}' in its subject or file name: there are {'; '.join(names)}")
    chosen = {name: tables[name] for name, text in names.items() if not words or any(word in text for word in words)}
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
                worktree.write(top / path, (work.path / path).read_bytes())
        if bad := worktree.git_apply(patch.path, top, "-R"):
            raise Stop(f"patch {name} can not simply be reverted: {bad} has changed since; "
                       f"add `edits` to its entry in {DATA}")
        return {path: (top / path).read_bytes() if (top / path).exists() else None for path in touched}


def main():
    tables, patches = load()
    if fault := next(problems(tables, patches), None):
        raise Stop(fault)
    base = os.environ.get("BASE")
    wanted = choose(tables, {base: patches[base]} if base in patches else patches, sys.argv[1:])

    def overlay(work, name, entry):
        if name not in patches[work.base]:
            raise Stop(f"patches/{work.base} has no patch {name}")
        return left_out(work, name, entry, patches[work.base][name])
    return prove("without patch", "teeth", wanted, overlay)


if __name__ == "__main__":
    run_main(main)
