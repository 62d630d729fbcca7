# SPDX-License-Identifier: GPL-2.0-only
"""The patched kernel tree that a run builds, kept in the cache between runs.

A work tree is its source (a base, or the user's KDIR) + the series + the
repository's own kernel files. What each file must hold is computed from
content and compared with what it holds, so an interrupted run heals itself,
and a file that does not change keeps its mtime: make rebuilds little.
"""

import dataclasses
import functools
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from base import get_base, require_series, supported
from common import BASES, CACHE, KERNEL_DIRS, PATCHES, SERIES, Stop, hold, need_space, patch_files, run, say, step, write
from series import Patch, touched_by

GIT_ENV = {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0",
           "GIT_ADVICE": "0", "LC_ALL": "C"}
KERNEL_FILES = ("Makefile", "Kconfig", "tools/testing/kunit/kunit.py")
NEED_MIB = 2000         # a copy of a tree; hard links to a base need almost nothing
MANY = 500              # changed files, beyond which a tree is exported anew


@dataclasses.dataclass(frozen=True)
class Work:
    """A prepared work tree. `id` names its whole content."""
    path: Path
    key: str
    base: str           # "7.3": whose series it carries
    version: str        # "7.3.4"
    description: str    # where the tree came from
    why: str            # and why this one
    patches: list
    id: str


def prepare(base=None, kdir=None, overlay=None, patched=True):
    """Bring the work tree of `base` (a name) or `kdir` (a path) up to date; returns Work.

    `overlay` (path: bytes, or None to delete) replaces whole files on top of the series, for
    this preparation only. Without `patched` it is a tree of its own, without the series.
    The trees are locked until this process ends, so a child process that prepares one of
    them would wait for ever.
    """
    if base and kdir:
        raise Stop("BASE= and KDIR= exclude each other: KDIR's own version picks the series")
    if kdir:
        source = kernel_source(kdir)
    else:
        if base:
            require_series(base)
        source = BaseSource(get_base(base))
    series = source.series
    key = source.key if patched else f"{source.key}-unpatched"
    path = CACHE / "work" / key
    hold(f"work-{source.key}")
    patches = list(map(Patch, patch_files(PATCHES / series))) if patched else []
    wanted = apply(source, patches)
    # The root files are those of the newest base; a backport has its own in its patches.
    if patched and series == BASES[0]:
        wanted.update(root_files(wanted))
    for name, data in (overlay or {}).items():
        wanted[name] = None if data is None else (data, (wanted.get(name) or (None, 0o644))[1])
    mirror(source, path, wanted)
    digest = hashlib.sha256(source.id.encode())
    for name, file in sorted(wanted.items()):
        digest.update(f"{name}\0".encode())
        if file:
            digest.update(hashlib.sha256(file[0]).digest() + oct(file[1]).encode())
    return Work(path, key, series, source.version, source.description, source.why,
                [patch.name for patch in patches], digest.hexdigest())


def kernel_version(makefile):
    """("7.3", "7.3.4") from the text of a kernel's top Makefile, or None."""
    field = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(\S*)$", makefile, re.M))
    if not field.get("VERSION") or not field.get("PATCHLEVEL"):
        return None
    short = f"{field['VERSION']}.{field['PATCHLEVEL']}"
    sub = field.get("SUBLEVEL") or "0"
    return short, short + (f".{sub}" if sub != "0" else "") + field.get("EXTRAVERSION", "")


class BaseSource:
    """A base in the cache. Its files never change, so the tree is hard links to it."""
    def __init__(self, base):
        self.root, self.series, self.version = base.path, base.base, base.version
        self.description, self.why = base.source, base.why
        self.key = re.sub(r"[^A-Za-z0-9.]+", "-", base.revision)     # make dislikes odd characters
        self.id = base.revision

    name = "the base"

    def files(self):
        """{path: id of its content} of the files that may have changed since last time."""
        return {}

    def read(self, name):
        """(content, permissions) of a file, or None."""
        path = self.root / name
        if path.is_symlink() or not path.is_file():
            return None
        return path.read_bytes(), stat.S_IMODE(path.stat().st_mode)

    def export(self, target):
        run(["cp", "-al", self.root, target])


class Kdir(BaseSource):
    """The user's source directory: copied, never written to."""
    def __init__(self, root):
        self.root, self.name = root, f"KDIR={root}"
        self.key = "kdir-" + hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
        for name in KERNEL_FILES:
            if self.read(name) is None:
                raise Stop(f"{self.name} is not a Linux source tree: it has no {name}")
        version = kernel_version(self.read("Makefile")[0].decode(errors="replace"))
        if not version:
            raise Stop(f"{self.name} is not a Linux source tree: its Makefile has no VERSION and PATCHLEVEL")
        self.series, self.version = version
        if self.series not in supported():
            raise Stop(f"no series for Linux {self.series} ({self.name}): there are patches for "
                       f"{', '.join(supported()) or 'none'}")
        self.check()
        self.description, self.why = self.describe(), "KDIR"
        self.now = self.files()
        self.id = hashlib.sha256(repr(sorted(self.now.items())).encode()).hexdigest()

    def check(self):
        for name in (".config", "include/config", "include/generated"):
            if (self.root / name).exists():
                raise Stop(f"{self.name} was built in place ({name} exists): run make mrproper there first")

    def describe(self):
        return f"source directory {self.root}"

    def files(self):
        found = {}
        for directory, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(directory, name)
                info = os.lstat(path)
                found[os.path.relpath(path, self.root)] = f"{info.st_mode:o} {info.st_size} {info.st_mtime_ns}"
        return found

    def export(self, target):
        need_space(target, NEED_MIB, "a copy of the kernel tree")
        run(["cp", "-a", self.root, target])

    def fetch(self, names, target):
        """Bring the files `names` to the directory `target`."""
        for name in names:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.root / name, target / name, follow_symlinks=False)


class GitKdir(Kdir):
    """The user's git tree: HEAD, as `git archive` gives it."""
    def git(self, *words):
        # The tree may belong to another user; its configuration must start nothing.
        done = subprocess.run(["git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-C", self.root, *words],
                              env={**os.environ, **GIT_ENV}, stdin=subprocess.DEVNULL, capture_output=True,
                              check=False)
        if done.returncode:
            raise Stop(f"{self.name}: git {words[0]}: {(done.stderr.decode().strip() or '?').splitlines()[-1]}")
        return done.stdout

    def check(self):
        changed = [line[3:] for line in self.git("status", "--porcelain", "--untracked-files=no",
                                                 "--ignore-submodules").decode(errors="replace").splitlines()]
        if changed:
            raise Stop(f"{self.name} has uncommitted changes ({changed[0]}{', ...' if changed[1:] else ''}): "
                       "commit or stash them, HEAD is what gets tested")

    def describe(self):
        return f"git tree {self.root} at {self.git('rev-parse', '--short=12', 'HEAD').decode().strip()}"

    def read(self, name):
        entry = self.tree.get(name, "")
        if not entry.startswith("100"):
            return None
        return self.git("cat-file", "blob", entry.split()[2]), 0o755 if entry.startswith("100755") else 0o644

    def files(self):
        return self.tree

    @functools.cached_property
    def tree(self):
        lines = self.git("ls-tree", "-r", "-z", "HEAD").decode(errors="surrogateescape").split("\0")
        return {name: entry for entry, name in (line.split("\t", 1) for line in lines if line)
                if not entry.startswith("160000")}

    def export(self, target):
        need_space(target, NEED_MIB, "an export of the kernel tree")
        target.mkdir()
        self.archive(target)

    def fetch(self, names, target):
        self.archive(target, names)

    def archive(self, target, names=()):
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{self.key}.", suffix=".tar") as tar:
            self.git("archive", "--format=tar", f"--output={tar.name}", "HEAD", "--",
                     *(f":(literal){name}" for name in names))
            run(["tar", "-xf", tar.name, "-C", target])


def kernel_source(kdir):
    """The Kdir or GitKdir of the path `kdir`."""
    root = Path(kdir).expanduser().resolve()
    if not root.is_dir():
        raise Stop(f"KDIR={kdir} is not a directory")
    git = (root / ".git").exists() and shutil.which("git")
    return GitKdir(root) if git else Kdir(root)


def apply(source, patches):
    """{path: (content, permissions) or None if deleted} of all files that `patches` touch."""
    touched = touched_by(patches)
    created = {new for patch in patches for old, new, _ in patch.diffs if old is None}
    there = sorted(name for name in created if name.endswith(".c") and source.read(name))
    if there:
        raise Stop(f"{source.name} already has the series ({there[0]} exists): "
                   "use its own ./tools/testing/kunit/kunit.py run --kunitconfig mm/tests")
    work = CACHE / "work"
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix=f".{source.key}.") as temp:
        for name in touched:
            file = source.read(name)
            if file:
                write(Path(temp, name), *file)
        for patch in patches:
            if bad := git_apply(patch.path, temp):
                raise Stop(f"{patch.path.relative_to(PATCHES)} does not apply to {source.description}: {bad}")
        return {name: (Path(temp, name).read_bytes(), stat.S_IMODE(Path(temp, name).stat().st_mode))
                if Path(temp, name).exists() else None for name in touched}


def git_apply(patch, top, *options):
    """Apply `patch` to the files in the directory `top`; returns the first that does not take it, or None."""
    # Without the ceiling a repository around `top` would swallow the paths.
    done = run(["git", "apply", "--whitespace=nowarn", *options, patch], check=False, cwd=top,
               env={**os.environ, "GIT_CEILING_DIRECTORIES": str(Path(top).parent), **GIT_ENV})
    if not done.returncode:
        return None
    error = re.search(r"^error: (?:patch failed: )?([^:\n]+)", done.stdout, re.M)
    return error.group(1) if error else done.stdout.strip()


def root_files(patched):
    """{path: (content, permissions)} of the kernel files in this repository."""
    found = {}
    for top in KERNEL_DIRS:
        for path in sorted((SERIES / top).rglob("*")):
            name = str(path.relative_to(SERIES))
            if path.is_file() and not name.endswith(("~", ".orig", ".rej", ".swp")):
                found[name] = (path.read_bytes(), (patched.get(name) or (None, 0o644))[1])
    return found


def mirror(source, path, wanted):
    """Make the tree at `path` hold `source` with the files `wanted` over it."""
    work, state_file = path.parent, path.parent / f"{path.name}.json"
    for stale in work.glob(f".{path.name}.*"):
        shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
    now = getattr(source, "now", {})
    state = json.loads(state_file.read_text(encoding="utf-8")) if state_file.exists() and path.exists() else None
    changed = sorted(name for name in now.keys() | state["files"].keys()
                     if now.get(name) != state["files"].get(name) and name not in wanted) if state else []
    if state is None or len(changed) > MANY:
        with step(f"work tree {path.name}") as this:
            temp = work / f".{path.name}.new"
            source.export(temp)
            if state is None:
                if path.exists():
                    shutil.rmtree(path)
                temp.rename(path)
            else:
                this.result = f"files changed: {take_over(temp, path, changed)}"
                shutil.rmtree(temp)
    elif changed:
        with tempfile.TemporaryDirectory(dir=work, prefix=f".{path.name}.") as temp:
            source.fetch([name for name in changed if name in now], Path(temp))
            say(f"work tree {path.name}: files changed: {take_over(Path(temp), path, changed)}")
    # What may differ from the source is noted before it does.
    managed = set(wanted) | set(state["managed"] if state else ())
    write(state_file, json.dumps({"files": now, "managed": sorted(managed)}))
    for name in sorted(managed):
        put(path / name, wanted[name] if name in wanted else source.read(name))
    write(state_file, json.dumps({"files": now, "managed": sorted(wanted)}))


def take_over(temp, path, names):
    """Bring the files `names` of `path` to their state in `temp`; returns how many differed."""
    count = 0
    for name in names:
        new, old = temp / name, path / name
        if new.is_symlink():
            if not old.is_symlink() or os.readlink(old) != os.readlink(new):
                remove(old)
                old.parent.mkdir(parents=True, exist_ok=True)
                os.symlink(os.readlink(new), old)
                count += 1
        else:
            count += put(old, (new.read_bytes(), stat.S_IMODE(new.stat().st_mode)) if new.exists() else None)
    return count


def put(path, file):
    """Make `path` hold `file` (content, permissions), or be absent if None; True if it did not yet.

    A new inode each time: the old one may be a link into the base.
    """
    if file is None:
        return remove(path)
    if path.is_file() and not path.is_symlink():
        if path.read_bytes() == file[0] and stat.S_IMODE(path.stat().st_mode) == file[1]:
            return False
    else:
        remove(path)
    write(path, *file)
    return True


def remove(path):
    if path.is_symlink() or path.is_file():
        path.unlink()
        return True
    if path.is_dir():
        shutil.rmtree(path)
        return True
    return False
