#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Maintain the patch series: patches/<base>/ from a git tree and the kernel files of this repository.

  tree     make the series' git tree in the cache (base kernel + patches) and print its path
  refresh  export the git tree to patches/<base>/; edited files of this repository and `fixup!` commits are folded in first
  check    does `git am patches/<base>/*/*.patch` take the patches on the base kernel, make the files of this repository,
           and export the same patches and cover letters again? Does each *-fixes series apply to the base alone?
  vanilla  do the patches stay clear of Debian's own changes, so that they apply to the vanilla release too?
           (exit code 2: the mirror does not have Debian's changes)

BASE=7.3 chooses the base; only the newest one has its files at the root of this repository. GITTREE=<path> is a git
tree of your own to export instead of the cache's: a linear branch on top of a tag or ref `base`. An empty commit begins
each series there; its message is the name of the series, like 01-arm64-fixes, which is its directory in patches/<base>/.
"""

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from pathlib import Path

import base
from common import (BASES, CACHE, KERNEL_DIRS, SERIES, Stop, git, lock, need_space, patch_files, run, run_main, say, step,
                    write)

COVER, COVER_IN = "0000-cover-letter.txt", "cover-letter.in"
MARKER = re.compile(r"\d\d-[a-z0-9-]+")
REFRESH = "run `make refresh`"
REFUSED_TAGS = re.compile(r"^(?:Signed-off|Reviewed|Tested|Acked)-by:.*", re.I | re.M)

# What makes one machine's output differ from another's. Full blob names are the same in every repository.
FORMAT = ("--zero-commit", "--no-signature", "-n", "--suffix=.patch", "--full-index", "-M", "--no-encode-email-headers",
          "--filename-max-length=64", "--cover-letter", "--cover-from-description=subject")
# git's own pattern for C, pinned: the words behind @@ must not depend on the git version.
XFUNCNAME = "!^[ \t]*[A-Za-z_][A-Za-z_0-9]*:[[:space:]]*($|/[/*])\n^((::[[:space:]]*)?[A-Za-z_].*)$"


class Series:
    """All series of one base: where their patches and their git tree are."""

    def __init__(self, name, root=SERIES, tree=None):
        self.base, self.root = name, Path(root)
        self.patches = self.root / "patches" / name
        self.own_tree = tree is None
        self.tree = CACHE / "git" / name if tree is None else Path(tree)

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
        """{path: (mode, content)} of the kernel files at the root of the repository; {} for a backport, which has none."""
        return root_files(self.root) if self.base == BASES[0] else {}


def root_files(root=SERIES):
    """{path: (git's mode, content)} of the kernel files in the repository at `root`."""
    found = {}
    for path in sorted(path for top in KERNEL_DIRS for path in (root / top).rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            raise Stop(f"{name}: a symbolic link; the series takes regular files only")
        if path.is_file() and not name.endswith(("~", ".orig", ".rej", ".swp")):
            found[name] = ("100755" if path.stat().st_mode & stat.S_IXUSR else "100644", path.read_bytes())
    return found


class Patch:
    """One mailbox patch: `.name`, `.subject`, `.text`, and `.diffs`, (old path, new path, old blob) of each file or None."""

    def __init__(self, path):
        self.path, self.name = path, f"{path.parent.name}/{path.name}"
        self.text = path.read_text(encoding="utf-8", errors="replace")
        head, *diffs = re.split(r"^diff --git ", self.text, flags=re.M)
        found = re.search(r"^Subject: (?:\[[^]]*\] )?(.*(?:\n[ \t].*)*)", head, re.M)
        self.subject = re.sub(r"\n[ \t]+", " ", found[1]) if found else ""
        self.diffs = [self.file_diff(re.split(r"^(?:@@|GIT binary|--- )", diff, maxsplit=1, flags=re.M)[0]) for diff in diffs]

    @staticmethod
    def file_diff(head):
        def field(pattern):
            found = re.search(pattern, head, re.M)
            return found[1] if found else None
        both = field(r"^a/(.*) b/\1$")      # old and new name are the same but for a rename
        old, new = field("^rename from (.*)$") or both, field("^rename to (.*)$") or both
        if "\nnew file mode" in head:
            return None, new, None
        return old, None if "\ndeleted file mode" in head else new, field(r"^index ([0-9a-f]+)\.\.")


def touched_by(patches):
    """The paths of all files that `patches` name."""
    return {path for patch in patches for diff in patch.diffs for path in diff[:2] if path}


def digest(directory):
    """A hash of the patches in `directory`, to notice that they changed under a git tree."""
    total = hashlib.sha256()
    for path in patch_files(directory):
        total.update(bytes(path.relative_to(directory)) + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


# Export

def export(tree, letters, out):
    """Write each series of base..HEAD into a directory of `out`: patches and cover letter, whose source is in `letters`."""
    parts = split(tree)
    for path in sorted(letters.glob(f"*/{COVER_IN}")):
        if path.parent.name not in parts:
            raise Stop(f"{path}: {tree} has no series {path.parent.name}; add the commit that begins it, or remove this file")
    existing = set(git("ls-tree", "-r", "-z", "--name-only", "base", cwd=tree).split("\0"))
    with tempfile.TemporaryDirectory() as temp:
        # An empty repository that borrows the objects: no configuration and no attributes but these apply.
        borrow(temp, tree, "--bare")
        write(Path(temp, "info/attributes"), "*.[chS] diff=series\n")
        for name, (marker, *_, last) in parts.items():
            template, place = letters / name / COVER_IN, out / name
            prefix, text = letter(template)
            git("branch", name, last, cwd=temp)
            git("config", f"branch.{name}.description", text, cwd=temp)
            who = git("log", "-1", "--format=%an%n%ae%n%ad", last, cwd=temp).splitlines()
            git("-c", f"diff.series.xfuncname={XFUNCNAME}", "format-patch", "-q", *FORMAT, f"--subject-prefix={prefix}",
                "-o", place, f"{marker}..{name}", cwd=temp,
                **dict(zip(("GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "GIT_COMMITTER_DATE"), who)))
            cover = place / "0000-cover-letter.patch"
            write(place / COVER, cover.read_text(encoding="utf-8").rstrip() + "\n" + changes(temp, marker, last, existing))
            cover.unlink()
            shutil.copyfile(template, place / COVER_IN)


def borrow(repo, tree, *options):
    """Make the git repository `repo`, or use the one there is, with the objects of `tree`."""
    git("init", "-q", *options, repo, cwd=tree)
    path = git("rev-parse", "--path-format=absolute", "--git-path", "objects/info/alternates", cwd=repo).strip()
    write(path, git("rev-parse", "--path-format=absolute", "--git-path", "objects", cwd=tree))


def changes(repo, start, end, existing):
    """The lines of the cover letter about the changes of start..end to the files `existing`."""
    rows = [row.split("\t") for row in git("diff", "--numstat", "--no-renames", start, end, cwd=repo).splitlines()]
    rows = [(int(plus), int(minus), path) for plus, minus, path in rows if path in existing]
    code = [path for *_, path in rows if not re.search(r"(^|/)(Kconfig[^/]*|Makefile|MAINTAINERS)$", path)]
    diff = git("diff", "-U0", "--no-renames", start, end, "--", *code, cwd=repo) if code else ""
    count = sum("kunit" not in line.lower() for line in re.findall(r"^\+(?!\+\+ b/).*", diff, re.M))
    return ("\nChanges to existing kernel files:\n" + "".join(f" {path}: +{plus} -{minus}\n" for plus, minus, path in rows)
            + f" {len(rows)} files, +{sum(row[0] for row in rows)} -{sum(row[1] for row in rows)}\n\n"
            f"{count} lines added to existing kernel files, without KUnit hooks, Kconfig, Makefiles\nand MAINTAINERS\n")


def letter(template):
    """(prefix of the subjects, subject and text) of a cover letter; "[RFC] " at its beginning goes into the prefix."""
    try:
        found = re.fullmatch(r"(\[RFC\] )?([^\n]*\S[^\n]*\n\n.*\S)\s*", template.read_text(encoding="utf-8"), re.S)
    except FileNotFoundError:
        raise Stop(f"{template}: missing; write the cover letter there: subject, blank line, text") from None
    if not found:
        raise Stop(f"{template}: first line the subject, then a blank line, then the text")
    return "RFC PATCH" if found[1] else "PATCH", found[2]


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


def new_tree(tree, files):
    """Make the git tree `tree` with the tag `base` of the directory `files`, which is checked out."""
    tree.mkdir(parents=True)
    git("init", "-q", "-b", "vmem-altmap", tree, cwd=tree)
    git("-c", "core.compression=1", f"--work-tree={files}", "add", "-A", "-f", cwd=tree)
    git("commit", "-q", "--allow-empty", "-m", f"base {files.name}", cwd=tree)
    git("tag", "base", cwd=tree)
    git("reset", "-q", "--hard", cwd=tree)


def make_tree(series):
    """Make the git tree unless it is there; returns its path."""
    if not series.own_tree or (series.tree / ".git").exists():
        return series.tree
    pristine = Path(base.get_base(series.base))
    need_space(series.tree, 2500, "the git tree")
    temp = series.tree.with_name(f".{series.base}.tmp")
    shutil.rmtree(temp, ignore_errors=True)
    with step(f"git tree of {pristine.name}"):
        new_tree(temp, pristine)
    if series.list():
        with step(f"git am of {len(series.list())} patches"):
            import_patches(series, temp)
    remember(series, temp)
    temp.rename(series.tree)
    return series.tree


def sync_file(tree):
    """Where the git tree remembers which HEAD and which patches agreed last."""
    return Path(git("rev-parse", "--absolute-git-dir", cwd=tree).strip(), "vmem-altmap-sync")


def synced(tree):
    """[HEAD, digests of the patches] that agreed last, or []."""
    file = sync_file(tree)
    return file.read_text(encoding="ascii").split() if file.exists() else []


def remember(series, tree, *more):
    """Note that HEAD agrees with the patches; `more` are digests that are fine, too, until the next call."""
    git("update-ref", "refs/vmem-altmap/synced", "HEAD", cwd=tree)     # git keeps it, then
    write(sync_file(tree), " ".join([git("rev-parse", "HEAD", cwd=tree).strip(), digest(series.patches), *more]) + "\n")


def refuse_stale(series, force):
    """Bring the cache's tree up to patches that changed under it (git pull); Stop if it has commits of its own."""
    head, *agreed = synced(series.tree) or [None]
    if force or not series.list() or not head or digest(series.patches) in agreed:
        return
    if not series.own_tree or head != git("rev-parse", "HEAD", cwd=series.tree).strip():
        raise Stop(f"{series.name(series.patches)} changed since {series.tree} was last exported: `git am` what is new there, "
                   "then tools/series.py refresh --force, which overwrites the patches from that tree")
    with unchanged(series.tree):
        git("reset", "-q", "--hard", "base", cwd=series.tree)
        import_patches(series, series.tree)
    remember(series, series.tree)


@contextlib.contextmanager
def unchanged(tree):
    """If the block fails, put the branch of `tree` back where it was."""
    head = git("rev-parse", "HEAD", cwd=tree).strip()
    try:
        yield
    except BaseException:
        with contextlib.suppress(Stop):
            git("rebase", "--abort", cwd=tree)
        git("reset", "-q", "--hard", head, cwd=tree)
        raise


def current_tree(series, force=False):
    """Make the git tree, or bring it up to date, and return its path; Stop if its commits are no series."""
    tree = make_tree(series)
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
    if not git("rev-list", "base..HEAD", cwd=tree):
        raise Stop(f"{tree}: no commit after `base`, nothing to export")
    refuse_stale(series, force)
    split(tree)
    return tree


def split(tree):
    """{series: [the empty commit that begins it, its patches ...]} of base..HEAD. What is in no series is a Stop."""
    found, before = {}, git("rev-parse", "base^{tree}", cwd=tree).strip()
    for entry in git("log", "-z", "--reverse", "--format=%h %H %T %B", "base..HEAD", cwd=tree).rstrip("\0").split("\0"):
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


def blobs(tree, commit, paths=()):
    """{path: blob} of a commit, of `paths` if there are any."""
    rows = git("ls-tree", "-r", "-z", commit, "--", *paths, cwd=tree).split("\0")
    return {row.split("\t")[1]: row.split()[2] for row in rows if row}


# refresh

def compare(series, tree):
    """What differs between the root's files and HEAD's: ({to fold}, {to write to the root}, [to remove from it])."""
    head, sync = created_in(tree), synced(tree)
    before = created_in(tree, sync[0]) if sync and series.list() else {}
    here = series.files()
    to_fold, to_write, to_remove = {}, {}, []
    for path in sorted(here | head):
        mine, theirs, old = here.get(path), head.get(path), before.get(path)
        if mine is None:
            to_write[path] = theirs
        elif theirs is None:
            if mine != old:
                raise Stop(f"{path}: no commit of the series creates this file; commit it in {series.tree}")
            to_remove.append(path)
        elif mine != theirs and mine == old:
            to_write[path] = theirs
        elif mine != theirs and old in (None, theirs):
            to_fold[path] = mine
        elif mine != theirs:
            raise Stop(f"{path}: changed both here and in {series.tree}; make the two agree, then refresh again")
    return to_fold, to_write, to_remove


def fold(tree, files):
    """Make {path: (mode, content)} part of the last commit that touches the path, and each `fixup!` of its commit.

    No later commit touches such a path, so this never conflicts.
    """
    for path, (mode, content) in files.items():
        target = git("rev-list", "-1", "--invert-grep", "--grep=^fixup!", "base..HEAD", "--", path, cwd=tree).strip()
        say(f"folding {path} into: {git('log', '-1', '--format=%s', target, cwd=tree).strip()}")
        write(tree / path, content, 0o755 if mode == "100755" else 0o644)
        git("commit", "-q", f"--fixup={target}", "--", path, cwd=tree)
    if git("log", "-1", "--grep=^fixup! ", "base..HEAD", cwd=tree):
        git("-c", "sequence.editor=true", "rebase", "-q", "-i", "--autosquash", "--keep-empty", "base", cwd=tree)


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
    to_fold, to_write, to_remove = compare(series, tree) if series.base == BASES[0] else ({}, {}, [])
    shutil.rmtree(temp, ignore_errors=True)
    temp.mkdir(parents=True)
    try:
        with unchanged(tree):
            fold(tree, to_fold)
            export(tree, series.patches, temp)
            # In this order a kill in between loses nothing: the next refresh finds root and tree in agreement.
            for path, (mode, content) in to_write.items():
                say(f"writing {path} from {tree}")
                write(series.root / path, content, 0o755 if mode == "100755" else 0o644)
            for path in to_remove:
                say(f"removing {path}: the series no longer creates it")
                (series.root / path).unlink()
        remember(series, tree, digest(temp))
        replace_directory(temp, series.patches)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    remember(series, tree)
    return len(series.list())


# check

def check(series, pristine):
    """One line for each fault of the patches, when `git am` applies them to the files of the base that they touch.

    The result must have the root's files, and exporting it must give the same patches and cover letters again: then
    they come from git and not from an editor. Where the base has moved on since the export, only the former is
    asked for. A *-fixes series has to apply without the others, too.
    """
    patches = [Patch(path) for path in series.list()]
    if not patches:
        return [f"{series.name(series.patches)}: no patches; no series for this base yet"]
    subjects = [patch.subject for patch in patches]
    bad = [f"{series.name(patch.path)}: an earlier patch has this subject, too; reword it in the git tree, then {REFRESH}"
           for number, patch in enumerate(patches) if patch.subject in subjects[:number]]
    bad += [f"{series.name(patch.path)}: has `{tag}`; the person who submits adds such tags: remove it in the git tree, then {REFRESH}"
            for patch in patches for tag in REFUSED_TAGS.findall(patch.text)]
    with tempfile.TemporaryDirectory() as temp:
        files, tree, out = (Path(temp, name) for name in ("files", "tree", "out"))
        files.mkdir()
        copy_files(touched_by(patches), pristine, files)
        new_tree(tree, files)
        for name in [name for name in series.groups() if name.endswith("-fixes")]:
            git("checkout", "-q", "--detach", "base", cwd=tree)
            try:
                import_patches(series, tree, only=name)
            except Stop as stop:
                bad.append(f"{name} does not apply to the base alone: {stop}")
        git("checkout", "-q", "vmem-altmap", cwd=tree)
        import_patches(series, tree)
        if series.base == BASES[0]:
            made, here = created_in(tree), series.files()
            bad += [f"{path}: not what the patches create; {REFRESH}" if path in made else
                    f"{path}: no patch of {series.name(series.patches)} creates this file; "
                    f"commit it in the git tree (tools/series.py tree), then {REFRESH}"
                    for path in sorted(made | here) if made.get(path) != here.get(path)]
        if moved := sorted(preimages(patches).items() - blobs(tree, "base").items()):
            say(f"note: the patches apply, but were made on another {', '.join(path for path, _ in moved)}; "
                f"export them anew on {pristine.name} when convenient")
            return bad
        try:
            export(tree, series.patches, out)
        except Stop as stop:
            return [*bad, str(stop)]
        for name in sorted({str(path.relative_to(top)) for top in (out, series.patches) for path in top.glob("*/*")}):
            new, old = (path.read_bytes() if path.is_file() else None for path in (out / name, series.patches / name))
            if new != old:
                bad.append(f"{series.name(series.patches / name)}: is not what refresh writes; {REFRESH}")
    return bad


def copy_files(paths, source, target):
    """Copy those of `paths` that `source` has to `target`."""
    for path in paths:
        if (source / path).is_file():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / path, target / path)


def preimages(patches):
    """{path: blob} of the base's files as the first patch that touches each expects them."""
    seen, wanted = set(), {}
    for old, new, blob in (diff for patch in patches for diff in patch.diffs):
        if old and old not in seen and blob:
            wanted[old] = blob
        seen |= {old, new}
    return wanted


# vanilla

class Unavailable(Stop):
    """What is needed to tell cannot be had: neither good nor bad."""


def debian_patches(revision, suite):
    """Debian's patches to the kernel of `revision`, in their order: the files that debian/patches/series names.

    Only the small debian.tar.xz of the source package is fetched (2 MB), through a
    private apt state, which verifies it. Cached.
    """
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
    with tempfile.TemporaryDirectory() as temp:
        copy_files(touched, pristine, Path(temp))
        for path in reversed(shared):
            say(f"taking back {path.name}: {', '.join(sorted(shared[path]))}")
            git("apply", "-R", *(f"--include={name}" for name in sorted(shared[path])), path, cwd=temp)
        return check(series, Path(temp))


def chosen():
    """The Series that the user asks for."""
    return Series(base.known(os.environ.get("BASE") or BASES[0]), tree=os.environ.get("GITTREE") or None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("tree", "refresh", "check", "vanilla"))
    parser.add_argument("--force", action="store_true", help="refresh: overwrite patches that changed since the last refresh")
    words = parser.parse_args()
    series = chosen()
    if words.command in ("tree", "refresh"):
        with lock(f"series-{series.base}"):
            if words.command == "tree":
                print(make_tree(series))
            else:
                say(f"{series.name(series.patches)}: {refresh(series, words.force)} patches, exported from {series.tree}")
        return 0
    try:
        bad = {"check": check, "vanilla": vanilla}[words.command](series, Path(base.get_base(series.base)))
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
