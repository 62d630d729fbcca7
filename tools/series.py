#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Maintain the patch series: patches/<base>/ from a git tree and the kernel files of this repository.

  tree     make the series' git tree in the cache (base kernel + patches) and print its path
  refresh  export the git tree to patches/<base>/; edited files of this repository are folded in first
  check    do patches, cover letter and the files of this repository agree? (no kernel source needed)
  am       does `git am patches/<base>/*/*.patch` take the patches on the base kernel, and export the same again,
           and does each *-fixes series apply to the base alone?
  vanilla  do the patches stay clear of Debian's own changes, so that they apply to the vanilla release too?
           (exit code 2: the mirror does not have Debian's changes)

BASE=7.3 chooses the base. GITTREE=<path> is a git tree of your own to export instead of the
cache's: a linear branch on top of a tag or ref `base`. An empty commit begins each series there; its
message is the name of the series, like 01-arm64-fixes, which is its directory in patches/<base>/.
"""

import argparse
import hashlib
import itertools
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from common import BASES, CACHE, KERNEL_DIRS, SERIES, Stop, lock, need_space, patch_files, run, run_main, say, step, write

COVER, COVER_IN = "0000-cover-letter.txt", "cover-letter.in"
MARKER = re.compile(r"\d\d-[a-z0-9-]+")
BODY_WIDTH = 75
REFRESH = "run `make refresh`"
REFUSED_TAGS = re.compile(r"(Signed-off|Reviewed|Tested|Acked)-by:", re.I)

# Everything that could make one machine's output differ from another's is said here; user and
# system configuration are not read at all (environment() below).
GIT = ("git", "-c", "core.hooksPath=/dev/null", "-c", "core.attributesFile=/dev/null", "-c", "core.excludesFile=/dev/null",
       "-c", "core.quotePath=false", "-c", "core.autocrlf=false", "-c", "commit.gpgSign=false", "-c", "gc.auto=0",
       "-c", "safe.directory=*", "-c", "core.pager=cat")
# Full blob names are the same in every repository; renames stay renames, for the reader; the stat helps him, too.
COUNT = ("-M", "--diff-algorithm=myers", "--no-ext-diff", "--no-textconv", "--no-color")
DIFF = (*COUNT, "--full-index", "-U3", "--inter-hunk-context=0", "--indent-heuristic", "--src-prefix=a/", "--dst-prefix=b/")
FORMAT = ("--zero-commit", "--no-signature", "-n", "--suffix=.patch", "--no-thread",
          "--no-attach", "--no-cover-letter", "--no-base", "--no-notes", "--no-encode-email-headers", "--filename-max-length=64")
# git's own pattern for C, pinned: the words behind @@ must not depend on the git version.
XFUNCNAME = "!^[ \t]*[A-Za-z_][A-Za-z_0-9]*:[[:space:]]*($|/[/*])\n^((::[[:space:]]*)?[A-Za-z_].*)$"


def environment(**more):
    """The environ for git: no configuration but ours, a fixed committer, no repository taken from a calling hook."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    who = {"GIT_COMMITTER_NAME": "vmem-altmap", "GIT_COMMITTER_EMAIL": "vmem-altmap@localhost",
           "GIT_AUTHOR_NAME": "vmem-altmap", "GIT_AUTHOR_EMAIL": "vmem-altmap@localhost"}
    return clean | who | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
                          "GIT_ATTR_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"} | more


def git(*words, cwd, data=None, env=None, raw=False):
    """Run git in `cwd` with `data` (bytes) on stdin; returns its stdout as text, or bytes if `raw`. Failure is a Stop."""
    try:
        done = subprocess.run([*GIT, *map(str, words)], cwd=cwd, input=data, env=environment(**(env or {})),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    except FileNotFoundError as error:
        raise Stop(f"git: {error.strerror}: {error.filename}") from None
    if done.returncode:
        lines = (done.stderr + done.stdout).decode(errors="replace").strip().splitlines() or ["failed"]
        best = next((line for line in lines if line.startswith(("error:", "fatal:"))), lines[0])
        raise Stop(f"git {next(w for w in words if w[:1] != '-' and '=' not in w)}: {best.split(': ', 1)[-1]}")
    return done.stdout if raw else done.stdout.decode(errors="surrogateescape")


class Series:
    """All series of one base: where their patches, the files they create, and their git tree are."""

    def __init__(self, base, root=SERIES, tree=None):
        self.base, self.root = base, Path(root)
        self.patches = self.root / "patches" / base
        self.own_tree = tree is None
        self.tree = CACHE / "git" / base if tree is None else Path(tree)

    def list(self):
        """All patch files, in their order."""
        return patch_files(self.patches)

    def groups(self):
        """{series: its patch files}, in their order."""
        return {name: list(paths) for name, paths in itertools.groupby(self.list(), lambda path: path.parent.name)}

    def name(self, path):
        """`path` as the user should read it."""
        return str(Path(path).relative_to(self.root)) if Path(path).is_relative_to(self.root) else str(path)

    def files(self):
        """{path: (mode, content)} of the kernel files at the repository root that git tracks or would track."""
        listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *KERNEL_DIRS, cwd=self.root)
        found = {}
        for path in sorted(set(filter(None, listed.split("\0")))):
            file = self.root / path
            if file.is_symlink():
                raise Stop(f"{path}: a symbolic link; the series takes regular files only")
            if file.is_file():
                mode = "100755" if file.stat().st_mode & stat.S_IXUSR else "100644"
                found[path] = (mode, file.read_bytes())
        return found


def digest(directory):
    """A hash of the patches in `directory`, to notice that they changed under a git tree."""
    total = hashlib.sha256()
    for path in patch_files(directory):
        total.update(bytes(path.relative_to(directory)) + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


class Patch:
    """One mailbox patch: `.name`, `.subject`, `.author` (name <mail>), `.date`, `.body` (lines), `.diffs`."""

    def __init__(self, path):
        self.path, self.name, self.data = path, f"{path.parent.name}/{path.name}", path.read_bytes()
        text = self.data.decode(errors="replace")
        head, _, rest = text.partition("\n\n")
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", re.sub(r"\n[ \t]+", " ", head), re.M))
        self.full_subject = fields.get("Subject", "")
        self.author, self.date = fields.get("From", ""), fields.get("Date", "")
        self.subject = re.sub(r"^\[[^]]*\] ", "", self.full_subject)
        message, _, diff = rest.partition("\ndiff --git ")
        self.body = re.split(r"^---$", message, maxsplit=1, flags=re.M)[0].strip("\n").split("\n")
        self.diffs = [self.file_diff(part) for part in re.split(r"^diff --git ", "\n" + diff, flags=re.M)] if diff else []

    @staticmethod
    def file_diff(text):
        """(old path or None, new path or None, old blob or None) of one file's diff."""
        head = re.split(r"^(?:@@|GIT binary|--- )", text, maxsplit=1, flags=re.M)[0]
        def field(pattern):
            found = re.search(pattern, head, re.M)
            return found[1] if found else None
        both = field(r"^\s*a/(.*) b/\1$")       # old and new name are the same but for a rename
        old, new = field("^rename from (.*)$") or both, field("^rename to (.*)$") or both
        blob = field(r"^index ([0-9a-f]+)\.\.")
        if "\nnew file mode" in head:
            return None, new, None
        return old, None if "\ndeleted file mode" in head else new, blob


def created(patches):
    """{path: (mode, content)} of the files that `patches` make from nothing. A patch that does not fit is a Stop."""
    with tempfile.TemporaryDirectory() as temp:
        top = Path(os.path.realpath(temp))
        ours = set()
        for patch in patches:
            wanted = set()
            for old, new, _ in patch.diffs:
                if old is None or old in ours:
                    wanted |= {old, new} - {None}
                    ours -= {old}
                    ours |= {new} - {None}
            if wanted:
                try:
                    git("apply", "--whitespace=nowarn", *(f"--include={path}" for path in sorted(wanted)), "-",
                        cwd=top, data=patch.data, env={"GIT_CEILING_DIRECTORIES": str(top.parent)})
                except Stop as stop:
                    raise Stop(f"{patch.name}: does not fit the patches before it ({stop})") from None
        return {path: ("100755" if (top / path).stat().st_mode & stat.S_IXUSR else "100644", (top / path).read_bytes())
                for path in sorted(ours)}


# Export

def export(tree, head, letters, out):
    """Write each series of base..head into a directory of `out`: patches and cover letter, whose source is in `letters`."""
    parts = split(tree, head)
    for path in sorted(letters.glob(f"*/{COVER_IN}")):
        if path.parent.name not in parts:
            raise Stop(f"{path}: {tree} has no series {path.parent.name}; add the commit that begins it, or remove this file")
    objects = git("rev-parse", "--path-format=absolute", "--git-path", "objects", cwd=tree).strip()
    existing = set(git("ls-tree", "-r", "-z", "--name-only", "base", cwd=tree).split("\0"))
    with tempfile.TemporaryDirectory() as temp:
        # An empty repository that borrows the objects: no configuration and no attributes but these apply.
        git("init", "-q", "--bare", temp, cwd=out)
        Path(temp, "objects/info/alternates").write_text(objects + "\n", encoding="utf-8")
        Path(temp, "info").mkdir(exist_ok=True)
        Path(temp, "info/attributes").write_text("*.[chS] diff=series\n", encoding="utf-8")
        for name, (marker, *_, last) in parts.items():
            template, place = letters / name / COVER_IN, out / name
            git("-c", f"diff.series.xfuncname={XFUNCNAME}", "format-patch", "-q", *FORMAT, *DIFF,
                f"--subject-prefix={letter(template)[0]}", "-o", place, f"{marker}..{last}", cwd=temp)
            text = cover_top(template, list(map(Patch, sorted(place.glob("*.patch")))))
            text += git("diff", "--stat=75", "--summary", *COUNT, marker, last, cwd=temp)
            (place / COVER).write_text(text + changes(temp, marker, last, existing), encoding="utf-8")
            shutil.copyfile(template, place / COVER_IN)


def changes(repo, start, end, existing):
    """The lines of the cover letter about the changes of start..end to the files `existing`."""
    text, rows, total, count = "\nChanges to existing kernel files:\n", 0, [0, 0], 0
    for part in re.split(r"^diff --git ", git("diff", "-U3", *COUNT, "--no-renames", start, end, cwd=repo), flags=re.M)[1:]:
        path = re.match(r"a/(.*) b/\1\n", part)[1]
        if path in existing:
            plus, minus = (re.findall(rf"^\{sign}.*", part.partition("\n@@")[2], re.M) for sign in "+-")
            text += f" {path}: +{len(plus)} -{len(minus)}\n"
            rows, total = rows + 1, [total[0] + len(plus), total[1] + len(minus)]
            if not re.search(r"(^|/)(Kconfig[^/]*|Makefile|MAINTAINERS)$", path):
                count += sum("kunit" not in line.lower() for line in plus)
    return text + (f" {rows} files, +{total[0]} -{total[1]}\n\n"
                   f"{count} lines added to existing kernel files, without KUnit hooks, Kconfig, Makefiles\nand MAINTAINERS\n")


def letter(template):
    """(prefix of the subjects, subject, text) of a cover letter; "[RFC] " at its beginning goes into the prefix."""
    try:
        found = re.fullmatch(r"(\[RFC\] )?([^\n]*\S[^\n]*)\n\n(.*\S)\s*", template.read_text(encoding="utf-8"), re.S)
    except FileNotFoundError:
        raise Stop(f"{template}: missing; write the cover letter there: subject, blank line, text") from None
    if not found:
        raise Stop(f"{template}: first line the subject, then a blank line, then the text")
    return "RFC PATCH" if found[1] else "PATCH", found[2], found[3]


def numbered(prefix, number, total):
    """What the subject of patch `number` begins with."""
    return f"[{prefix} {number:0{len(str(total))}}/{total}] "


def cover_top(template, patches):
    """The cover letter as far as it follows from its prose and the patches: header, prose, shortlog."""
    prefix, subject, body = letter(template)
    last = patches[-1]
    text = (f"From {'0' * 40} Mon Sep 17 00:00:00 2001\nFrom: {last.author}\nDate: {last.date}\n"
            f"Subject: {numbered(prefix, 0, len(patches))}{subject}\nMIME-Version: 1.0\n"
            f"Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\n{body}\n\n")
    authors = {}
    for patch in patches:
        authors.setdefault(patch.author.split(" <")[0].strip('"'), []).append(patch.subject)
    for author in sorted(authors):
        text += f"{author} ({len(authors[author])}):\n" + "".join(f"  {subject}\n" for subject in authors[author]) + "\n"
    return text


# The git tree

def import_patches(series, tree, only=None):
    """`git am` all series, or `only` one, onto the checked-out base of `tree`. A patch that does not apply is a Stop."""
    for name, paths in series.groups().items() if only is None else [(only, series.groups()[only])]:
        git("commit", "-q", "--allow-empty", "-m", name, cwd=tree)
        try:
            git("am", "-q", "--no-3way", "--no-scissors", "--whitespace=nowarn", *paths, cwd=tree)
        except Stop as stop:
            state = Path(git("rev-parse", "--absolute-git-dir", cwd=tree).strip(), "rebase-apply")
            reason = str(stop).split(": ", 1)[-1]
            if (state / "next").exists():
                reason = f"{series.name(paths[int((state / 'next').read_text()) - 1])}: {reason}"
                git("am", "--abort", cwd=tree)
            raise Stop(f"git am: {reason}") from None


def sync_file(tree):
    """Where the git tree remembers which HEAD and which patches agreed last."""
    return Path(git("rev-parse", "--absolute-git-dir", cwd=tree).strip(), "vmem-altmap-sync")


def remember(series, tree, *more):
    """Note that HEAD agrees with the patches; `more` are digests that are fine, too, until the next call."""
    write(sync_file(tree), " ".join([git("rev-parse", "HEAD", cwd=tree).strip(), digest(series.patches), *more]) + "\n")


def make_tree(series):
    """Make the git tree unless it is there; returns its path."""
    if not series.own_tree or (series.tree / ".git").exists():
        return series.tree
    from base import get_base
    pristine = Path(get_base(series.base))
    need_space(series.tree, 2500, "the git tree")
    temp = series.tree.with_name(f".{series.base}.tmp")
    shutil.rmtree(temp, ignore_errors=True)
    temp.mkdir(parents=True)
    with step(f"git tree of {pristine.name}"):
        git("init", "-q", "-b", "vmem-altmap", temp, cwd=temp)
        git("config", "gc.auto", "0", cwd=temp)
        git("-c", "core.compression=1", f"--work-tree={pristine}", "add", "-A", "-f", cwd=temp)
        git("commit", "-q", "-m", f"base {pristine.name}", cwd=temp)
        git("tag", "base", cwd=temp)
        git("reset", "-q", "--hard", cwd=temp)
    if series.list():
        with step(f"git am of {len(series.list())} patches"):
            import_patches(series, temp)
    remember(series, temp)
    temp.rename(series.tree)
    return series.tree


def refuse_stale(series, force):
    """Bring the cache's tree up to patches that changed under it (git pull); Stop if it has commits of its own."""
    file = sync_file(series.tree)
    if force or not series.list() or not file.exists():
        return
    head, *agreed = file.read_text(encoding="ascii").split()
    if digest(series.patches) in agreed:
        return
    if not series.own_tree or head != git("rev-parse", "HEAD", cwd=series.tree).strip():
        raise Stop(f"{series.name(series.patches)} changed since {series.tree} was last exported: `git am` what is new there, "
                   "then tools/series.py refresh --force, which overwrites the patches from that tree")
    git("reset", "-q", "--hard", "base", cwd=series.tree)
    try:
        import_patches(series, series.tree)
    except Stop:
        git("reset", "-q", "--hard", head, cwd=series.tree)
        raise
    remember(series, series.tree)


def current_tree(series, force=False):
    """Make the git tree, or bring it up to date, and return its path; Stop if its commits are no series."""
    tree = make_tree(series)
    commits(tree)
    refuse_stale(series, force)
    split(tree)
    return tree


def commits(tree):
    """The series' commits, oldest first. Anything but a clean linear series on `base` is a Stop."""
    if not tree.is_dir():
        raise Stop(f"{tree}: no such git tree")
    try:
        git("rev-parse", "base^{commit}", "HEAD^{commit}", cwd=tree)
    except Stop:
        raise Stop(f"{tree}: not a git tree with a tag or ref `base` and commits") from None
    if git("status", "--porcelain", "--untracked-files=no", cwd=tree):
        raise Stop(f"{tree}: has uncommitted changes; commit them first, refresh exports commits")
    if git("rev-list", "--merges", "base..HEAD", cwd=tree) or git("rev-list", "HEAD..base", cwd=tree):
        raise Stop(f"{tree}: base..HEAD is not a linear series of commits on top of `base`")
    found = git("rev-list", "--reverse", "base..HEAD", cwd=tree).split()
    if not found:
        raise Stop(f"{tree}: no commit after `base`, nothing to export")
    return found


def split(tree, head="HEAD"):
    """{series: [the empty commit that begins it, its patches ...]} of base..head. What is in no series is a Stop."""
    found, before = {}, git("rev-parse", "base^{tree}", cwd=tree).strip()
    for entry in git("log", "-z", "--reverse", "--format=%h %H %T %B", f"base..{head}", cwd=tree).rstrip("\0").split("\0"):
        short, commit, now, message = entry.strip().split(" ", 3)
        where, marker = f"{tree}: {short} ({message.splitlines()[0]})", MARKER.fullmatch(message)
        if bool(marker) != (now == before):
            raise Stop(f"{where}: a commit is empty only if it begins a series, and its message is then its name, like 01-arm64-fixes")
        if not marker and not found:
            raise Stop(f"{where}: belongs to no series; `git commit --allow-empty -m 01-NAME` before it begins one")
        if marker and found and message[:2] <= max(found)[:2]:
            raise Stop(f"{where}: comes after {max(found)}; each series has a number of its own, in ascending order")
        found.setdefault(message if marker else max(found), []).append(commit)
        before = now
    if empty := [name for name, members in found.items() if len(members) == 1]:
        raise Stop(f"{tree}: series {empty[0]} has no commits; remove the commit that begins it, or add some")
    return found


def created_in(tree, head="HEAD"):
    """{path: (mode, content)} of the files that base..head creates in the git tree."""
    fields = git("diff-tree", "-r", "-z", "-M", "--diff-filter=A", "base", head, cwd=tree).split("\0")
    return {path: (meta.split()[1], git("cat-file", "blob", meta.split()[3], cwd=tree, raw=True))
            for meta, path in zip(fields[::2], fields[1::2])}


def fold(tree, series_commits, changes):
    """A new head of the series in which {path: (mode, content)} is part of the last commit that touches the path.

    No later commit touches such a path, so this never conflicts. Only objects are
    written; the caller moves the branch. Returns the commit's name.
    """
    start = {}
    entries = {}
    for path, (mode, content) in changes.items():
        target = git("rev-list", "-1", "base..HEAD", "--", path, cwd=tree).strip()
        start[path] = series_commits.index(target)
        blob = git("hash-object", "-w", "--stdin", cwd=tree, data=content).strip()
        entries[path] = f"{mode} {blob}\t{path}\n"
        say(f"folding {path} into: {git('log', '-1', '--format=%s', target, cwd=tree).strip()}")
    parent = git("rev-parse", "base^{commit}", cwd=tree).strip()
    with tempfile.TemporaryDirectory() as temp:
        index = {"GIT_INDEX_FILE": str(Path(temp, "index"))}
        for number, commit in enumerate(series_commits):
            now = "".join(entries[path] for path in changes if start[path] <= number)
            if not now:
                parent = commit
                continue
            git("read-tree", commit, cwd=tree, env=index)
            git("update-index", "--index-info", cwd=tree, env=index, data=now.encode())
            new_tree = git("write-tree", cwd=tree, env=index).strip()
            head, _, message = git("cat-file", "commit", commit, cwd=tree, raw=True).partition(b"\n\n")
            keep = [line for line in head.split(b"\n") if line.startswith((b"author ", b"committer ", b"encoding "))]
            lines = [f"tree {new_tree}".encode(), f"parent {parent}".encode(), *keep, b"", message]
            parent = git("hash-object", "-t", "commit", "-w", "--stdin", cwd=tree, data=b"\n".join(lines)).strip()
    return parent


# Commands

def compare(series, head):
    """What differs between the root's files and the tree's: ({to fold}, {to write to the root}, [to remove from it]).

    The patches tell which side changed: they hold what both were at the last refresh.
    """
    try:
        before = created([Patch(path) for path in series.list()])
    except Stop:
        before = {}
    here = series.files()
    to_fold, to_write, to_remove = {}, {}, []
    for path in sorted(here | head):
        mine, theirs, old = here.get(path), head.get(path), before.get(path)
        if mine == theirs:
            continue
        if mine is None:
            to_write[path] = theirs
        elif theirs is None:
            if mine != old:
                raise Stop(f"{path}: no commit of the series creates this file; commit it in {series.tree}")
            to_remove.append(path)
        elif mine == old:
            to_write[path] = theirs
        elif old is None or theirs == old:
            to_fold[path] = mine
        else:
            raise Stop(f"{path}: changed both here and in {series.tree}; make the two agree, then refresh again")
    return to_fold, to_write, to_remove


def replace_directory(new, old):
    """Put the directory `new` in the place of `old`, which may be absent."""
    aside = old.with_name(f".{old.name}.old")
    if old.exists():
        old.rename(aside)
    try:
        new.rename(old)
    except BaseException:
        if aside.exists():
            aside.rename(old)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def refresh(series, force=False):
    """Rewrite patches/<base>/ from the git tree and the root's files. All or nothing."""
    aside, temp = (series.patches.with_name(f".{series.base}.{end}") for end in ("old", "tmp"))
    if aside.exists():      # a refresh was killed in replace_directory()
        if series.patches.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(series.patches)
    tree = current_tree(series, force)
    series_commits = commits(tree)
    to_fold, to_write, to_remove = compare(series, created_in(tree))
    head = fold(tree, series_commits, to_fold) if to_fold else series_commits[-1]

    shutil.rmtree(temp, ignore_errors=True)
    temp.mkdir(parents=True)
    try:
        export(tree, head, series.patches, temp)
        # In this order a kill in between loses nothing: the next refresh finds root and tree in agreement.
        for path, (mode, content) in to_write.items():
            say(f"writing {path} from {tree}")
            write(series.root / path, content)
            (series.root / path).chmod(0o755 if mode == "100755" else 0o644)
        for path in to_remove:
            say(f"removing {path}: the series no longer creates it")
            (series.root / path).unlink()
        git("reset", "-q", "--hard", head, cwd=tree)
        remember(series, tree, digest(temp))
        replace_directory(temp, series.patches)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    remember(series, tree)
    return len(series.list())


def check(series):
    """One line for each way in which patches, cover letter and root files disagree; [] when all is well."""
    bad, patches = [], []
    for name, paths in series.groups().items():
        own, cover = list(map(Patch, paths)), series.patches / name / COVER
        patches += own
        try:
            prefix, top = letter(cover.with_name(COVER_IN))[0], cover_top(cover.with_name(COVER_IN), own)
            bad += [f"{series.name(patch.path)}: {text}" for number, patch in enumerate(own, 1)
                    for text in patch_faults(patch, number, numbered(prefix, number, len(own)))]
            if not cover.is_file() or not cover.read_text(encoding="utf-8").startswith(top):
                bad.append(f"{series.name(cover)}: does not say what {COVER_IN} and the patches say; {REFRESH}")
        except Stop as stop:
            bad.append(str(stop))
    if not patches:
        return [f"{series.name(series.patches)}: no patches; no series for this base yet"]
    subjects = [patch.subject for patch in patches]
    bad += [f"{series.name(patch.path)}: an earlier patch has this subject, too; reword it in the git tree, then {REFRESH}"
            for number, patch in enumerate(patches) if patch.subject in subjects[:number]]
    try:
        made, here = created(patches), series.files()
        for path in sorted(made | here):
            if path not in made:
                bad.append(f"{path}: no patch of {series.name(series.patches)} creates this file; "
                           f"commit it in the git tree (tools/series.py tree), then {REFRESH}")
            elif path not in here:
                bad.append(f"{path}: missing here, but the patches create it; {REFRESH}")
            elif made[path] != here[path]:
                bad.append(f"{path}: differs from what the patches create; {REFRESH}")
    except Stop as stop:
        bad.append(f"{series.name(series.patches)}/{stop}; {REFRESH}")
    return bad


def patch_faults(patch, number, start):
    """What is wrong with the form of one patch, which should be `number` of its series and have a subject with this `start`."""
    if not patch.path.name.startswith(f"{number:04}-"):
        yield f"should be number {number:04}: a patch is missing, or one too many; {REFRESH}"
    if not patch.full_subject.startswith(start):
        yield f"subject should start with {start}it is: {patch.full_subject}; {REFRESH}"
    if not any(line.strip() for line in patch.body):
        yield "no changelog; reword its commit in the git tree, then " + REFRESH
    for line in patch.body:
        if REFUSED_TAGS.match(line):
            yield f"has `{line.strip()}`; the person who submits adds such tags: remove it in the git tree, then {REFRESH}"
        # Quoted logs, tags and URLs stay whole.
        elif len(line) > BODY_WIDTH and " " in line.strip() and not re.match(r"[ \t>]|[A-Z][A-Za-z-]+: |\[\d+\] ", line):
            yield f"changelog line of {len(line)} columns, {BODY_WIDTH} are allowed: {line[:40]}...; reword it in the git tree, then {REFRESH}"
    if not patch.diffs:
        yield "changes no file"


def am(series, pristine):
    """`git am` the patches on the files of the base that they touch; returns a list of faults, as check() does.

    The result must have the root's files, and exporting it must give the same
    patches again: then they come from git and not from an editor. Where the base
    has moved on since the export, only the former is asked for. A *-fixes series has
    to apply without the others, too.
    """
    patches = [Patch(path) for path in series.list()]
    touched = touched_by(patches)
    with tempfile.TemporaryDirectory() as temp:
        tree, out = Path(temp, "tree"), Path(temp, "out")
        git("init", "-q", "-b", "vmem-altmap", tree, cwd=temp)
        copy_files(touched, pristine, tree)
        git("add", "-A", "-f", cwd=tree)
        git("commit", "-q", "--allow-empty", "-m", "base", cwd=tree)
        git("tag", "base", cwd=tree)
        bad = []
        for name in [name for name in series.groups() if name.endswith("-fixes")]:
            git("checkout", "-q", "--detach", "base", cwd=tree)
            try:
                import_patches(series, tree, only=name)
            except Stop as stop:
                bad.append(f"{name} does not apply to the base alone: {stop}")
        git("checkout", "-q", "vmem-altmap", cwd=tree)
        import_patches(series, tree)
        made, here = created_in(tree), series.files()
        bad += [f"{path}: not what `git am` makes of the patches; {REFRESH}"
               for path in sorted(made | here) if made.get(path) != here.get(path)]
        if moved := sorted(preimages(patches).items() - blobs(tree, "base").items()):
            say(f"note: the patches apply, but were made on another {', '.join(path for path, _ in moved)}; "
                f"export them anew on {pristine.name} when convenient")
            return bad
        out.mkdir()
        export(tree, "HEAD", series.patches, out)
        names = {str(path.relative_to(top)) for top in (out, series.patches) for path in top.glob("*/*")}
        for name in sorted(names):
            new, old = (path.read_bytes() if path.is_file() else None for path in (out / name, series.patches / name))
            if new != old:
                bad.append(f"{series.name(series.patches / name)}: is not what refresh writes; {REFRESH}")
        return bad


def touched_by(patches):
    """The paths of all files that `patches` name."""
    return {path for patch in patches for diff in patch.diffs for path in diff[:2] if path}


def copy_files(paths, source, target):
    """Copy those of `paths` that `source` has to `target`."""
    for path in paths:
        if (source / path).is_file():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / path, target / path)


def preimages(patches):
    """{path: blob} of the base's files as the first patch that touches each expects them."""
    seen, blobs_wanted = set(), {}
    for patch in patches:
        for old, new, blob in patch.diffs:
            if old and old not in seen and blob:
                blobs_wanted[old] = blob
            seen |= {old, new}
    return blobs_wanted


def blobs(tree, commit, paths=()):
    """{path: blob} of a commit, of `paths` if there are any."""
    rows = git("ls-tree", "-r", "-z", commit, "--", *paths, cwd=tree).split("\0")
    return {row.split("\t")[1]: row.split()[2] for row in rows if row}


class Unavailable(Stop):
    """What is needed to tell is not to be had: neither good nor bad."""


def debian_patches(revision, suite):
    """Debian's patches to the kernel of `revision`, in their order: the files that debian/patches/series names.

    Only the small debian.tar.xz of the source package is fetched (2 MB), through a
    private apt state, which verifies it. Cached.
    """
    import base
    place = CACHE / "debian" / revision
    with lock(f"debian-{revision}"):
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            with step(f"Debian's patches of linux {revision}") as this, tempfile.TemporaryDirectory(dir=place.parent) as temp:
                temp = Path(temp)
                (temp / "lists/partial").mkdir(parents=True)
                write(temp / "list", f"deb-src [signed-by={base.KEYRING}] {base.mirror()} {suite} main\n")
                for words in (["update"], ["source", "--diff-only", "--download-only", "--only-source", f"linux={revision}"]):
                    done = base.apt(suite, "apt-get", f"-oDir::Etc::sourcelist={temp}/list", f"-oDir::State::lists={temp}/lists",
                                    *words, cwd=temp, beat=this)
                    if done.returncode:
                        faults = [line for line in done.stdout.splitlines() if line.startswith("E: ")] or ["apt failed"]
                        raise Unavailable(f"no Debian patches to compare with: {faults[0][3:]}")
                (temp / "new").mkdir()
                run(["tar", "-xJf", *temp.glob("*.debian.tar.xz"), "-C", temp / "new", "debian/patches"])
                (temp / "new/debian/patches").rename(place)
    names = (place / "series").read_text(encoding="utf-8").splitlines()
    return [place / name.split()[0] for name in names if name.strip() and not name.startswith("#")]


def vanilla(series, pristine):
    """Faults, as check() gives them, when the series is applied to the kernel without Debian's patches.

    Where no Debian patch touches a file of the series, that release's files are
    the pristine base's. Elsewhere Debian's patches to these files are taken back first.
    """
    meta = json.loads(pristine.with_name(pristine.name + ".json").read_text(encoding="utf-8"))
    theirs = {path: set(re.findall(r"^(?:---|\+\+\+) [^/\s]+/(\S+)", path.read_text(errors="replace"), re.M))
              for path in debian_patches(meta["revision"], meta["suite"])}
    touched = touched_by([Patch(path) for path in series.list()])
    shared = {path: names & touched for path, names in theirs.items() if names & touched}
    say(f"{len(theirs)} patches of Debian touch {len(set().union(*theirs.values()))} files, "
        f"{len(set().union(*shared.values()))} of the {len(touched)} files of the series")
    if not shared:
        return am(series, pristine)
    with tempfile.TemporaryDirectory() as temp:
        top = Path(os.path.realpath(temp))
        copy_files(touched, pristine, top)
        for path in reversed(shared):
            say(f"taking back {path.name}: {', '.join(sorted(shared[path]))}")
            git("apply", "-R", *(f"--include={name}" for name in sorted(shared[path])), path,
                cwd=top, env={"GIT_CEILING_DIRECTORIES": str(top.parent)})
        return am(series, top)


def chosen():
    """The Series that the user asks for."""
    base = os.environ.get("BASE") or BASES[0]
    if base not in BASES:
        raise Stop(f"unknown BASE {base}; known: {', '.join(BASES)}")
    return Series(base, tree=os.environ.get("GITTREE") or None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("tree", "refresh", "check", "am", "vanilla"))
    parser.add_argument("--force", action="store_true", help="refresh: overwrite patches that changed since the last refresh")
    words = parser.parse_args()
    series = chosen()
    if words.command == "tree":
        with lock(f"series-{series.base}"):
            print(make_tree(series))
        return 0
    if words.command == "refresh":
        with lock(f"series-{series.base}"):
            count = refresh(series, words.force)
        say(f"{series.name(series.patches)}: {count} patches, exported from {series.tree}")
        return 0
    if words.command == "check":
        bad = check(series)
    else:
        from base import get_base
        try:
            bad = check(series) or {"am": am, "vanilla": vanilla}[words.command](series, Path(get_base(series.base)))
        except Unavailable as unavailable:
            say(f"skipped: {unavailable}")
            return 2
    for line in bad:
        print(line, file=sys.stderr)
    if not bad:
        say(f"{series.name(series.patches)}: {len(series.list())} patches, {words.command}: good")
    return 1 if bad else 0


if __name__ == "__main__":
    run_main(main)
