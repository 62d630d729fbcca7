# SPDX-License-Identifier: GPL-2.0-only
"""The patched kernel tree that a run builds, kept in the cache between runs.

A work tree is its source (a base, or the user's KDIR) + the series + the
repository's own kernel files. What each file must hold is computed from
content and compared with what it holds, so an interrupted run heals itself,
and a file that does not change keeps its mtime: make rebuilds little.
"""

import dataclasses
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path

from base import get_base, known, supported
from common import BASES, CACHE, PATCHES, Stop, git, hold, need_space, patch_files, run, say, step, write
from series import Patch, root_files, touched_by

KERNEL_FILES = ("Makefile", "Kconfig", "tools/testing/kunit/kunit.py")
NEED_MIB = 2000         # a copy of a tree; hard links to a base need almost nothing


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
    if base and known(base) not in supported():
        raise Stop(f"no series for base {base} yet: there are patches for {', '.join(supported()) or 'none'}")
    source = kernel_source(kdir) if kdir else BaseSource(get_base(base))
    key = source.key if patched else f"{source.key}-unpatched"
    path = CACHE / "work" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    hold(f"work-{source.key}")
    patches = list(map(Patch, patch_files(PATCHES / source.series))) if patched else []
    wanted = apply(source, patches)
    # The root files are those of the newest base; a backport has its own in its patches.
    if patched and source.series == BASES[0]:
        wanted |= {name: (content, (wanted.get(name) or (None, 0o644))[1]) for name, (_, content) in root_files().items()}
    for name, data in (overlay or {}).items():
        wanted[name] = None if data is None else (data, (wanted.get(name) or (None, 0o644))[1])
    mirror(source, path, wanted)
    digest = hashlib.sha256(source.id.encode())
    for name, file in sorted(wanted.items()):
        digest.update(f"{name}\0".encode())
        if file:
            digest.update(hashlib.sha256(file[0]).digest() + oct(file[1]).encode())
    return Work(path, key, source.series, source.version, source.description, source.why,
                [patch.name for patch in patches], digest.hexdigest())


def kernel_version(makefile):
    """("7.3", "7.3.4") from the text of a kernel's top Makefile, or None."""
    field = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(\S*)$", makefile, re.M))
    if not field.get("VERSION") or not field.get("PATCHLEVEL"):
        return None
    short = f"{field['VERSION']}.{field['PATCHLEVEL']}"
    sub = field.get("SUBLEVEL") or "0"
    return short, short + (f".{sub}" if sub != "0" else "") + field.get("EXTRAVERSION", "")


def read(path):
    """(content, permissions) of a regular file, or None."""
    return None if path.is_symlink() or not path.is_file() else (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))


class BaseSource:
    """A base in the cache. Its files never change, so the tree is hard links to it."""
    name, files = "the base", {}

    def __init__(self, base):
        self.root, self.series, self.version = base.path, base.base, base.version
        self.description, self.why = base.source, base.why
        self.key = re.sub(r"[^A-Za-z0-9.]+", "-", base.revision)     # make dislikes odd characters
        self.id = base.revision

    def export(self, target):
        run(["cp", "-al", self.root, target])


class Kdir:
    """The user's source directory: copied, never written to. `files` is {path: what changes with its content}."""
    why = "KDIR"

    def __init__(self, root):
        self.root, self.name = root, f"KDIR={root}"
        self.key = "kdir-" + hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
        for name in KERNEL_FILES:
            if read(root / name) is None:
                raise Stop(f"{self.name} is not a Linux source tree: it has no {name}")
        version = kernel_version((root / "Makefile").read_text(encoding="utf-8", errors="replace"))
        if not version:
            raise Stop(f"{self.name} is not a Linux source tree: its Makefile has no VERSION and PATCHLEVEL")
        self.series, self.version = version
        if self.series not in supported():
            raise Stop(f"no series for Linux {self.series} ({self.name}): there are patches for "
                       f"{', '.join(supported()) or 'none'}")
        self.examine()
        self.id = hashlib.sha256(repr(sorted(self.files.items())).encode()).hexdigest()

    def examine(self):
        """Refuse a tree whose state is unclear; set files and description."""
        for name in (".config", "include/config", "include/generated"):
            if (self.root / name).exists():
                raise Stop(f"{self.name} was built in place ({name} exists): run make mrproper there first")
        self.files, self.description = {}, f"source directory {self.root}"
        for directory, _, names in os.walk(self.root):
            for path in (os.path.join(directory, name) for name in names):
                info = os.lstat(path)
                self.files[os.path.relpath(path, self.root)] = f"{info.st_mode:o} {info.st_size} {info.st_mtime_ns}"

    def export(self, target):
        """Copy everything to the new directory `target`."""
        need_space(target, NEED_MIB, "a copy of the kernel tree")
        target.mkdir()
        self.copy(self.files, target)

    def copy(self, names, target):
        """Copy the files `names` to the directory `target`."""
        for name in names:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.root / name, target / name, follow_symlinks=False)


class GitKdir(Kdir):
    """The user's git tree: HEAD, without what git does not track."""

    def examine(self):
        changed = git("status", "--porcelain", "--untracked-files=no", "--ignore-submodules", cwd=self.root).splitlines()
        if changed:
            raise Stop(f"{self.name} has uncommitted changes ({changed[0][3:]}{', ...' if changed[1:] else ''}): "
                       "commit or stash them, HEAD is what gets tested")
        lines = git("ls-tree", "-r", "-z", "HEAD", cwd=self.root).split("\0")
        self.files = {name: entry for entry, name in (line.split("\t", 1) for line in lines if line)
                      if not entry.startswith("160000")}
        self.description = f"git tree {self.root} at {git('rev-parse', '--short=12', 'HEAD', cwd=self.root).strip()}"

    def copy(self, names, target):
        git("checkout-index", "-f", "-q", "-z", "--stdin", f"--prefix={target}/", cwd=self.root,
            data=b"".join(os.fsencode(name) + b"\0" for name in names))


def kernel_source(kdir):
    """The Kdir or GitKdir of the path `kdir`."""
    root = Path(kdir).expanduser().resolve()
    if not root.is_dir():
        raise Stop(f"KDIR={kdir} is not a directory")
    return (GitKdir if (root / ".git").exists() and shutil.which("git") else Kdir)(root)


def apply(source, patches):
    """{path: (content, permissions) or None if deleted} of all files that `patches` touch."""
    touched = touched_by(patches)
    created = {new for patch in patches for old, new, _ in patch.diffs if old is None}
    if there := sorted(name for name in created if name.endswith(".c") and read(source.root / name)):
        raise Stop(f"{source.name} already has the series ({there[0]} exists): "
                   "use its own ./tools/testing/kunit/kunit.py run --kunitconfig mm/tests")

    def patched(*groups):
        with tempfile.TemporaryDirectory() as temp:
            for name in touched:
                if file := read(source.root / name):
                    write(Path(temp, name), *file)
            for group in groups:
                if bad := git_apply([patch.path for patch in group], temp):
                    raise Stop(f"{source.series}/{group[0].name} does not apply to {source.description}: {bad}")
            return {name: read(Path(temp, name)) for name in touched}
    try:
        return patched(patches) if patches else {}
    except Stop:        # one call is quick, one for each patch says which it is
        return patched(*([patch] for patch in patches))


def git_apply(patches, top, *options):
    """Apply the files `patches` in the directory `top`; returns the first file there that does not take them, or None."""
    try:
        git("apply", "--whitespace=nowarn", *options, *patches, cwd=top)
        return None
    except Stop as stop:
        return re.sub(r"^git apply: (patch failed: )?|:.*", "", str(stop))


def mirror(source, path, wanted):
    """Make the tree at `path` hold `source` with the files `wanted` over it."""
    state_file = path.with_name(f"{path.name}.json")
    if state_file.exists() and path.exists():
        state = json.loads(state_file.read_text(encoding="utf-8"))
    else:
        state, temp = {"files": source.files, "managed": []}, path.with_name(f".{path.name}.new")
        for old in (temp, path):
            shutil.rmtree(old, ignore_errors=True)
        with step(f"work tree {path.name}"):
            source.export(temp)
            temp.rename(path)
    before = state["files"]
    changed = sorted(name for name in source.files.keys() | before.keys()
                     if source.files.get(name) != before.get(name) and name not in wanted)
    managed = sorted({*wanted, *state["managed"]})
    # What may differ from the source is noted before it does.
    write(state_file, json.dumps({"files": {name: before[name] for name in before if name not in changed}, "managed": managed}))
    if changed:
        say(f"work tree {path.name}: files changed: {len(changed)}")
        for name in changed:
            put(path / name, None)
        source.copy([name for name in changed if name in source.files], path)
    for name in managed:
        put(path / name, wanted[name] if name in wanted else read(source.root / name))
    write(state_file, json.dumps({"files": source.files, "managed": sorted(wanted)}))


def put(path, file):
    """Make `path` hold `file` (content, permissions), or be absent if None; one that does so already stays as it is.

    A new inode each time: the old one may be a link into the base.
    """
    if file and read(path) == file:
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if file:
        write(path, *file)
