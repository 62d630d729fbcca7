# SPDX-License-Identifier: GPL-2.0-only
"""KDIR: every kind of tree that is refused, and that none is ever written to."""

import hashlib
import os
import re
import shutil
import subprocess
import unittest
from pathlib import Path

from fake import FakeKernel

import worktree      # fake has put tools/ on the path
from common import Stop


def digest(root):
    """Every path, type, permission, time and byte below `root`."""
    found = hashlib.sha256()
    for directory, subdirs, names in os.walk(root):
        subdirs.sort()
        for name in sorted(names) + subdirs:
            path = Path(directory, name)
            info = path.lstat()
            found.update(f"{path} {info.st_mode} {info.st_mtime_ns}".encode())
            if path.is_file():
                found.update(path.read_bytes())
    return found.hexdigest()


class Kdir(FakeKernel):
    def setUp(self):
        super().setUp()
        self.patches = [worktree.Patch(path) for path in worktree.patch_files(self.series / "patches/7.3")]
        self.tree = self.temp / "mine"
        shutil.rmtree(self.tree, ignore_errors=True)
        shutil.copytree(self.kdir, self.tree)
        shutil.rmtree(self.work(), ignore_errors=True)

    def git(self, *words):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", self.tree, *words],
                       check=True, capture_output=True)

    def commit(self):
        self.git("init", "-q")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "x")

    def work(self):
        name = "kdir-" + hashlib.sha256(os.fsencode(self.tree)).hexdigest()[:12]
        return self.temp / "cache/vmem-altmap/work" / name

    def refused(self, line):
        before = digest(self.tree)
        with self.assertRaisesRegex(Stop, re.escape(line)):
            worktree.apply(worktree.kernel_source(self.tree), self.patches)
        self.assertEqual(digest(self.tree), before)

    def test_not_there(self):
        self.stops("is not a directory", KDIR=self.temp / "nowhere")
        self.assertFalse(self.work().exists())

    def test_not_a_kernel(self):
        (self.tree / "Kconfig").unlink()
        self.refused("is not a Linux source tree: it has no Kconfig")

    def test_makefile_of_something_else(self):
        (self.tree / "Makefile").write_text("all:\n", encoding="utf-8")
        self.refused("its Makefile has no VERSION")

    def test_version_without_a_series(self):
        makefile = self.tree / "Makefile"
        makefile.write_text(makefile.read_text(encoding="utf-8").replace("PATCHLEVEL = 3", "PATCHLEVEL = 2"),
                            encoding="utf-8")
        self.refused("no series for Linux 7.2")

    def test_has_the_series(self):
        (self.tree / "mm/vmem_altmap.c").touch()
        self.refused("already has the series (mm/vmem_altmap.c exists)")

    def test_conflict(self):
        (self.tree / "mm/Makefile").write_text("something else\n", encoding="utf-8")
        self.refused("01-mm/0002-mm-build.patch does not apply to source directory")

    def test_built_in_place(self):
        (self.tree / ".config").touch()
        self.refused("was built in place")

    def test_dirty_git_tree(self):
        self.commit()
        (self.tree / "mm/one.c").write_text("int changed;\n", encoding="utf-8")
        self.refused("has uncommitted changes (mm/one.c)")

    def test_source_directory(self):
        before = digest(self.tree)
        code, output, summary = self.make_run(KDIR=self.tree)
        self.assertEqual((code, summary["base"]["source"]), (0, f"source directory {self.tree}"), output)
        self.assertEqual(digest(self.tree), before)

    def test_git_tree(self):
        self.commit()
        (self.tree / "untracked").touch()
        before = digest(self.tree)
        code, output, summary = self.make_run(KDIR=self.tree)
        self.assertEqual(code, 0, output)
        self.assertRegex(summary["base"]["source"], f"git tree {self.tree} at [0-9a-f]{{12}}")
        self.assertEqual(digest(self.tree), before)
        self.assertFalse((self.work() / "untracked").exists())
        # After a commit only what changed is rewritten, and the patched file keeps its patch.
        times = {name: (self.work() / name).stat().st_mtime_ns for name in ("mm/Makefile", "Kconfig")}
        (self.tree / "mm/one.c").write_text("int newer;\n", encoding="utf-8")
        (self.tree / "mm/three.c").write_text("int three;\n", encoding="utf-8")
        (self.tree / "untracked").unlink()
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "y")
        code, output, _ = self.make_run(KDIR=self.tree)
        self.assertIn("files changed: 2", output)
        self.assertEqual((self.work() / "mm/one.c").read_text(encoding="utf-8"), "int newer;\n")
        self.assertEqual({name: (self.work() / name).stat().st_mtime_ns for name in times}, times)
        self.git("rm", "-q", "mm/three.c")
        self.git("commit", "-q", "-m", "z")
        self.make_run(KDIR=self.tree)
        self.assertFalse((self.work() / "mm/three.c").exists())

    def test_work_tree_heals(self):
        self.make_run(KDIR=self.tree)
        makefile = self.work() / "mm/Makefile"
        makefile.write_text("half-writ", encoding="utf-8")
        self.make_run(KDIR=self.tree)
        self.assertIn("vmem_altmap.o", makefile.read_text(encoding="utf-8"))
        # Killed between the export and its record: exported anew.
        makefile.with_name("one.c").unlink()
        self.work().with_suffix(".json").unlink()
        self.make_run(KDIR=self.tree)
        self.assertTrue(makefile.with_name("one.c").exists())
