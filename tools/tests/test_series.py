# SPDX-License-Identifier: GPL-2.0-only
"""series.py on a synthetic kernel of four files, a series of one fix and a series of three patches."""

import contextlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import series
from common import Stop

MAKEFILE = "".join(f"obj-y += file{n}.o\n" for n in range(20))
NEW = "mm/vmem_altmap.c"
TEST = "mm/tests/vmem_altmap_kunit.c"


class SeriesTest(unittest.TestCase):
    """A root and an author's git tree whose series has been exported once."""

    template = None

    def setUp(self):
        temp = tempfile.TemporaryDirectory()
        self.addCleanup(temp.cleanup)
        if not SeriesTest.template:         # made once, copied for each test
            template = tempfile.TemporaryDirectory()
            unittest.addModuleCleanup(template.cleanup)
            self.make(Path(template.name))
            SeriesTest.template = template.name
        top = Path(temp.name, "t")
        shutil.copytree(SeriesTest.template, top, symlinks=True)
        self.place(top)

    def place(self, top):
        self.root, self.tree, self.pristine = top / "root", top / "tree", top / "pristine"
        self.series = series.Series("7.3", self.root, self.tree)

    def make(self, top):
        self.place(top)
        for path, text in {"mm/Makefile": MAKEFILE, "mm/sparse.c": "int a;\nint moved;\nint b;\n", "MAINTAINERS": "F: mm/\n",
                           "mm/fix.c": "int wrong;\n"}.items():
            series.write(self.pristine / path, text)
        shutil.copytree(self.pristine, self.tree)
        self.git("init", "-q", "-b", "series")
        self.commit("base")
        self.git("tag", "base")
        self.begin("01-mm-fixes")
        self.put("mm/fix.c", "int right;\n")
        self.commit("mm: fix it\n\nIt was wrong.")
        self.begin("02-mm")
        self.put("mm/Makefile", MAKEFILE.replace("file3.o\n", "file3.o\nobj-y += vmem_altmap.o\n"))
        self.put("mm/sparse.c", "int a;\nint b;\n")
        self.put(NEW, "int moved;\n")
        self.commit("mm: move the allocator\n\nIt gets a file of its own.")
        self.put(NEW, "int moved;\nint added;\n")
        self.commit("mm: add a counter\n\nIt counts.")
        self.put(TEST, "int test;\n")
        self.put("mm/tests/.kunitconfig", "CONFIG_KUNIT=y\n")
        self.commit("mm: add tests\n\nThey test.")
        series.git("init", "-q", self.root, cwd=top)
        self.letter("01-mm-fixes", "mm: a fix\n\nWhy it is right.\n")
        self.letter("02-mm", "mm: a series\n\nWhy it is good.\n")
        self.refresh()

    def git(self, *words):
        return series.git(*words, cwd=self.tree)

    def put(self, path, text):
        series.write(self.tree / path, text)

    def commit(self, message):
        self.git("add", "-A", "-f")
        self.git("commit", "-q", "-m", message)

    def begin(self, name):
        self.git("commit", "-q", "--allow-empty", "-m", name)

    def letter(self, name, text=None):
        """The path of the source of a cover letter, which gets `text`."""
        path = self.series.patches / name / "cover-letter.in"
        if text:
            series.write(path, text)
        return path

    def quiet(self, function, *words):
        """What `function` returns; what it prints goes to self.said."""
        with contextlib.redirect_stdout(io.StringIO()) as said:
            try:
                return function(*words)
            finally:
                self.said = said.getvalue()

    def refresh(self, **more):
        return self.quiet(lambda: series.refresh(self.series, **more))

    def check(self):
        return self.quiet(series.check, self.series, self.pristine)

    def patch(self, number):
        return self.series.groups()["02-mm"][number - 1]

    def edit(self, path, old, new):
        text = path.read_text()
        self.assertIn(old, text)
        path.write_text(text.replace(old, new))

    def snapshot(self, *tops):
        return {path: path.read_bytes() for top in tops or (self.root / "patches", self.root / "mm")
                for path in sorted(top.rglob("*")) if path.is_file()}

    def assert_one_fault(self, faults, *words):
        self.assertEqual(len(faults), 1, faults)
        for word in words:
            self.assertIn(word, faults[0])
        self.assertNotIn("\n", faults[0])

    def assert_stops(self, pattern, function, *words):
        with self.assertRaisesRegex(Stop, pattern) as caught:
            self.quiet(function, *words)
        self.assertNotIn("\n", str(caught.exception))


class Refresh(SeriesTest):
    def test_first_import_writes_the_files_and_everything_agrees(self):
        self.assertEqual((self.root / NEW).read_text(), "int moved;\nint added;\n")
        self.assertEqual(sorted(self.series.files()), ["mm/tests/.kunitconfig", TEST, NEW])
        self.assertEqual([str(path.relative_to(self.series.patches)) for path in self.series.list()],
                         ["01-mm-fixes/0001-mm-fix-it.patch", "02-mm/0001-mm-move-the-allocator.patch",
                          "02-mm/0002-mm-add-a-counter.patch", "02-mm/0003-mm-add-tests.patch"])
        self.assertEqual(self.check(), [])
        self.assertEqual(self.check(), [])

    def test_again_changes_nothing(self):
        before = self.snapshot()
        self.refresh()
        self.assertEqual(self.snapshot(), before)

    def test_configuration_of_user_and_tree_changes_nothing(self):
        before = self.snapshot()
        with tempfile.TemporaryDirectory() as home, mock.patch.dict(os.environ, {"HOME": home, "GIT_DIFF_OPTS": "-u9"}):
            Path(home, ".gitconfig").write_text("[diff]\n\tsuppressBlankEmpty = true\n\tnoprefix = true\n[format]\n\tsignOff = true\n\tto = x\n")
            for key, value in (("diff.context", "8"), ("diff.mnemonicPrefix", "true"), ("format.subjectPrefix", "RFC"),
                               ("format.signature", "x"), ("core.abbrev", "5"), ("diff.algorithm", "patience"), ("format.pretty", "oneline")):
                self.git("config", key, value)
            self.refresh()
        self.assertEqual(self.snapshot(), before)

    def test_edit_is_folded_into_the_last_commit_that_touches_the_file(self):
        before = [path.read_bytes() for path in self.series.list()]
        dates = self.git("log", "--format=%an %ad %s")
        (self.root / NEW).write_text("int moved;\nint edited;\n")
        self.refresh()
        self.assertIn(f"folding {NEW} into: mm: add a counter", self.said)
        after = [path.read_bytes() for path in self.series.list()]
        self.assertEqual([a == b for a, b in zip(before, after)], [True, True, False, True])
        self.assertIn(b"+int edited;", after[2])
        self.assertEqual(self.git("log", "--format=%an %ad %s"), dates)
        self.assertEqual((self.tree / NEW).read_text(), "int moved;\nint edited;\n")
        self.assertEqual(self.git("status", "--porcelain"), "")
        self.assertEqual(self.check(), [])
        before = self.snapshot()
        self.refresh()
        self.assertEqual(self.snapshot(), before)

    def test_commit_in_the_tree_reaches_the_root(self):
        self.put(TEST, "int better;\n")
        self.commit("mm: improve tests\n\nBetter.")
        self.refresh()
        self.assertEqual((self.root / TEST).read_text(), "int better;\n")
        self.assertEqual(len(self.series.list()), 5)
        self.assertEqual(self.check(), [])

    def test_file_removed_in_the_tree_is_removed_here(self):
        self.git("rm", "-q", TEST)
        self.commit("mm: drop tests\n\nGone.")
        self.refresh()
        self.assertFalse((self.root / TEST).exists())
        self.assertEqual(self.check(), [])

    def test_change_on_both_sides_is_refused(self):
        (self.root / TEST).write_text("int mine;\n")
        self.put(TEST, "int theirs;\n")
        self.commit("mm: improve tests\n\nBetter.")
        before = self.snapshot()
        self.assert_stops(f"{TEST}: changed both here and in", self.refresh)
        self.assertEqual(self.snapshot(), before)

    def test_dirty_tree_is_refused(self):
        self.put(NEW, "int dirty;\n")
        before = self.snapshot(self.root, self.tree / "mm")
        self.assert_stops("uncommitted changes", self.refresh)
        self.assertEqual(self.snapshot(self.root, self.tree / "mm"), before)

    def test_file_unknown_to_the_series_is_refused(self):
        (self.root / "mm/stray.c").write_text("int stray;\n")
        self.assert_stops("mm/stray.c: no commit of the series creates", self.refresh)

    def test_symlink_is_refused(self):
        (self.root / "mm/link.c").symlink_to("vmem_altmap.c")
        self.assert_stops("mm/link.c: a symbolic link", self.refresh)

    def test_merge_is_refused(self):
        self.git("checkout", "-q", "-b", "side", "base")
        self.put("mm/side.c", "int side;\n")
        self.commit("mm: side\n\nSide.")
        self.git("checkout", "-q", "series")
        self.git("merge", "-q", "--no-edit", "side")
        self.assert_stops("not a linear series", self.refresh)

    def test_tree_without_base_is_refused(self):
        self.git("tag", "-d", "base")
        self.assert_stops("not a git tree with a tag or ref `base`", self.refresh)
        self.series.tree = self.root / "none"
        self.assert_stops("no such git tree", self.refresh)

    def test_failure_in_the_middle_leaves_everything_as_it_was(self):
        (self.root / NEW).write_text("int edited;\n")
        head = self.git("rev-parse", "HEAD")
        real = series.git
        for victim in ("format-patch", "diff", "rebase"):
            def failing(*words, victim=victim, **more):
                if victim in words:
                    raise Stop("no space")
                return real(*words, **more)
            before = self.snapshot()
            with mock.patch.object(series, "git", failing):
                self.assert_stops("no space", self.refresh)
            self.assertEqual(self.snapshot(), before, victim)
            self.assertEqual(self.git("rev-parse", "HEAD"), head)
            self.assertEqual([path.name for path in (self.root / "patches").iterdir()], ["7.3"])
        with mock.patch.object(Path, "rename", side_effect=OSError(28, "No space left on device")):
            before = self.snapshot()
            with self.assertRaises(OSError):
                self.quiet(self.refresh)
            self.assertEqual(self.snapshot(), before)
        self.refresh()
        self.assertEqual(self.check(), [])
        self.assertEqual((self.root / NEW).read_text(), "int edited;\n")

    def test_killed_between_the_two_renames_heals(self):
        before = self.snapshot()
        self.series.patches.rename(self.root / "patches/.7.3.old")
        self.refresh()
        self.assertEqual(self.snapshot(), before)

    def test_missing_cover_letter_leaves_everything_as_it_was(self):
        self.letter("02-mm").unlink()
        before = self.snapshot()
        self.assert_stops("cover-letter.in: missing", self.refresh)
        self.assertEqual(self.snapshot(), before)

    def test_patches_that_changed_since_the_export_are_not_overwritten(self):
        self.edit(self.patch(2), "It counts.", "It counts well.")
        before = self.snapshot()
        self.assert_stops("changed since .* was last exported", self.refresh)
        self.assertEqual(self.snapshot(), before)
        self.refresh(force=True)
        self.assertIn("It counts.", self.patch(2).read_text())

    def test_older_patches_put_back_are_not_overwritten(self):
        older = self.patch(2).read_bytes()
        (self.root / NEW).write_text("int edited;\n")
        self.refresh()
        self.patch(2).write_bytes(older)
        self.assert_stops("changed since .* was last exported", self.refresh)
        self.assertEqual(self.patch(2).read_bytes(), older)

    def test_second_rename_fails(self):
        real = Path.rename
        def rename(path, target):
            if path.name == ".7.3.tmp":
                raise OSError(28, "No space left on device")
            return real(path, target)
        before = self.snapshot()
        with mock.patch.object(Path, "rename", rename), self.assertRaises(OSError):
            self.refresh()
        self.assertEqual(self.snapshot(), before)

    def test_broken_patches_leave_our_own_tree_as_it_was(self):
        self.series.own_tree = True
        head = self.git("rev-parse", "HEAD")
        self.edit(self.patch(1), " obj-y += file1.o", " obj-y += fileX.o")
        self.assert_stops("0001-", self.refresh)
        self.assertEqual(self.git("rev-parse", "HEAD"), head)
        self.assertEqual(self.git("status", "--porcelain"), "")
        self.assertFalse((self.tree / ".git/rebase-apply").exists())

    def test_our_own_tree_follows_patches_that_changed(self):
        self.series.own_tree = True
        self.edit(self.patch(2), "It counts.", "It counts well.")
        before = self.snapshot()
        self.refresh()
        self.assertEqual(self.snapshot(), before)
        self.assertIn("It counts well.", self.git("log", "--format=%b"))


class Several(SeriesTest):
    """What is about more than one series."""

    def rebase(self, script):
        """`git rebase -i base` with the sed `script` as the editor of the list of commits."""
        self.git("-c", f"sequence.editor=sed -i -e '{script}'", "rebase", "-q", "-i", "base")

    def test_edit_is_folded_into_an_earlier_series(self):
        self.begin("03-later")
        self.put("mm/later.c", "int later;\n")
        self.commit("mm: later\n\nLater.")
        self.letter("03-later", "mm: later\n\nWhy it is good.\n")
        self.refresh()
        before = self.snapshot()
        (self.root / NEW).write_text("int moved;\nint edited;\n")
        self.refresh()
        self.assertIn(f"folding {NEW} into: mm: add a counter", self.said)
        self.assertEqual([path.name for path, data in self.snapshot().items() if before[path] != data],
                         ["0002-mm-add-a-counter.patch", "vmem_altmap.c"])
        self.assertEqual(self.check(), [])

    def test_patch_moves_to_another_series(self):
        self.begin("03-tests")
        self.rebase("/ mm: add tests/{h;d};/ 03-tests/G")
        self.letter("03-tests", "mm: tests\n\nWhy.\n")
        self.refresh()
        self.assertEqual([path.name for path in self.series.groups()["03-tests"]], ["0001-mm-add-tests.patch"])
        self.assertIn("[PATCH 2/2] mm: add a counter", self.patch(2).read_text())
        self.assertEqual(self.check(), [])

    def test_rfc(self):
        self.letter("02-mm", "[RFC] mm: a series\n\nWhy it is good.\n")
        self.assertEqual(len(self.check()), 4)
        self.refresh()
        texts = [path.read_text() for path in sorted(self.series.patches.glob("*/0*"))]
        self.assertEqual([text.partition("\nSubject: ")[2].partition("\n")[0] for text in texts],
                         ["[PATCH 0/1] mm: a fix", "[PATCH 1/1] mm: fix it", "[RFC PATCH 0/3] mm: a series",
                          "[RFC PATCH 1/3] mm: move the allocator", "[RFC PATCH 2/3] mm: add a counter", "[RFC PATCH 3/3] mm: add tests"])
        self.assertEqual(self.check(), [])

    def test_lines_that_are_counted(self):
        self.begin("03-later")
        self.put("mm/sparse.c", "int a;\nint more;\n#ifdef CONFIG_KUNIT\nint b; /* not for kunit */\nint c;\n")
        self.put("mm/Kconfig.debug", "config X\n")
        self.put("MAINTAINERS", "F: mm/\nF: x\n")
        self.put(NEW, "int moved;\nint changed;\n")
        self.commit("mm: later\n\nLater.")
        self.letter("03-later", "mm: later\n\nWhy it is good.\n")
        self.refresh()
        text = (self.series.patches / "03-later/0000-cover-letter.txt").read_text()
        self.assertIn("\nChanges to existing kernel files:\n MAINTAINERS: +1 -0\n mm/sparse.c: +4 -1\n 2 files, +5 -1\n\n2 lines added to", text)

    def test_commits_that_no_series_can_be_made_of(self):
        def add(name):
            self.put(f"mm/{name}.c", name)
            self.commit(f"mm: {name}\n\nWhy.")
        def outside():
            self.git("reset", "-q", "--hard", "base")
            add("early")
        for pattern, change in (
                (r"\(mm: early\): belongs to no series", outside),
                ("series 03-empty has no commits", lambda: self.begin("03-empty")),
                ("series 03-empty has no commits", lambda: (self.begin("03-empty"), self.begin("04-full"), add("x"))),
                (r"\(02-mm\): comes after 02-mm;", lambda: (self.begin("02-mm"), add("x"))),
                (r"\(02-other\): comes after 02-mm;", lambda: (self.begin("02-other"), add("x"))),
                (r"\(01-late\): comes after 02-mm;", lambda: (self.begin("01-late"), add("x"))),
                (r"\(mm: nothing\): a commit is empty only", lambda: self.begin("mm: nothing")),
                (r"\(03-body\): a commit is empty only", lambda: self.begin("03-body\n\nText.")),
                (r"\(03-full\): a commit is empty only", lambda: (self.put(NEW, "int x;\n"), self.commit("03-full")))):
            with self.subTest(pattern):
                head = self.git("rev-parse", "HEAD").strip()
                change()
                self.assert_stops(pattern, series.split, self.tree)
                self.git("reset", "-q", "--hard", head)

    def test_cover_letter_without_a_series_is_not_lost(self):
        letter = self.letter("03-soon", "mm: soon\n\nWhy.\n")
        self.assert_stops("03-soon/cover-letter.in: .* has no series 03-soon", self.refresh)
        self.assertTrue(letter.exists())

    def test_fixes_that_need_another_series(self):
        self.begin("03-x-fixes")
        self.put("mm/Makefile", MAKEFILE.replace("file3.o\n", "file3.o\nobj-y += vmem_altmap.o\nobj-y += x.o\n"))
        self.commit("mm: fix x\n\nWhy.")
        self.letter("03-x-fixes", "mm: fix x\n\nWhy.\n")
        self.refresh()
        self.assert_one_fault(self.check(), "03-x-fixes does not apply to the base alone: git am: patches/7.3/03-x-fixes/0001-mm-fix-x.patch")

    def test_subject_that_occurs_twice(self):
        self.put(TEST, "int better;\n")
        self.commit("mm: fix it\n\nAgain.")
        self.refresh()
        self.assert_one_fault(self.check(), "02-mm/0004-mm-fix-it.patch", "an earlier patch has this subject")


class Tree(SeriesTest):
    def test_tree_is_base_and_patches_and_exports_the_same(self):
        before = self.snapshot()
        self.series.own_tree, self.series.tree = True, self.root.parent / "cache/git/7.3"
        with mock.patch("base.get_base", return_value=self.pristine):
            self.assertEqual(self.quiet(series.make_tree, self.series), self.series.tree)
        log = series.git("log", "--format=%s", "base..vmem-altmap", cwd=self.series.tree)
        self.assertEqual(log.split("\n"), ["mm: add tests", "mm: add a counter", "mm: move the allocator", "02-mm", "mm: fix it", "01-mm-fixes", ""])
        self.refresh()
        self.assertEqual(self.snapshot(), before)
        with mock.patch("base.get_base", side_effect=AssertionError("made twice")):
            self.quiet(series.make_tree, self.series)

    def test_patch_that_does_not_apply_leaves_no_tree(self):
        (self.pristine / "mm/sparse.c").write_text("int other;\n")
        self.series.own_tree, self.series.tree = True, self.root.parent / "cache/git/7.3"
        with mock.patch("base.get_base", return_value=self.pristine):
            self.assert_stops("0001-mm-move", series.make_tree, self.series)
        self.assertFalse(self.series.tree.exists())


class Faults(SeriesTest):
    def test_files_of_the_root(self):
        (self.root / TEST).unlink()
        (self.root / NEW).chmod(0o755)
        (self.root / "mm/stray.c").write_text("int stray;\n")
        faults = self.check()
        self.assertEqual([fault.partition(":")[0] for fault in faults], ["mm/stray.c", TEST, NEW])
        self.assertIn("no patch of patches/7.3 creates this file", faults[0])
        for fault in faults:
            self.assertIn("make refresh", fault)

    def test_backport_has_no_files_at_the_root(self):
        self.series = series.Series("6.12", self.root, self.tree)
        (self.root / "patches/7.3").rename(self.series.patches)
        (self.root / NEW).write_text("int newer;\n")
        self.assertEqual(self.check(), [])
        before = self.snapshot()
        self.refresh()
        self.assertEqual(self.snapshot(), before)

    def test_missing_patch_number(self):
        self.patch(2).unlink()
        self.assertIn("patches/7.3/02-mm/0002-mm-add-tests.patch: is not what refresh writes", "\n".join(self.check()))

    def test_no_patches(self):
        for path in self.series.list():
            path.unlink()
        self.assert_one_fault(self.check(), "patches/7.3", "no patches")

    def test_forbidden_tags(self):
        tags = ("Signed-off-by", "Reviewed-by", "Tested-by", "Acked-by")
        self.edit(self.patch(2), "It counts.\n", "It counts.\n\n" + "".join(f"{tag}: A <a@b>\n" for tag in tags))
        faults = self.check()
        self.assertEqual([re.search("has `([^:]*):", fault)[1] for fault in faults], [*tags])
        self.assertIn("0002-", faults[0])

    def test_cover_letter_out_of_step(self):
        cover = self.series.patches / "02-mm/0000-cover-letter.txt"
        text = cover.read_text()
        self.assertIn("Subject: [PATCH 0/3] mm: a series\n", text)
        self.assertIn("\nWhy it is good.\n", text)
        self.assertIn("  mm: add a counter\n", text)
        self.assertIn(" mm/Makefile: +1 -0\n mm/sparse.c: +0 -1\n 2 files, +1 -1\n", text)
        self.assertNotIn("fix", text)
        self.assertIn("\n0 lines added to existing kernel files", text)
        self.edit(cover, "2 files, +1 -1", "2 files, +1 -9")
        self.assert_one_fault(self.check(), "0000-cover-letter.txt", "make refresh")
        self.edit(self.letter("02-mm"), "Why it", "That it")
        self.assert_one_fault(self.check(), "0000-cover-letter.txt", "make refresh")


class Apply(SeriesTest):
    def test_context_that_only_fuzz_would_take(self):
        self.edit(self.patch(1), " obj-y += file1.o\n", " obj-y += fileX.o\n")
        self.assert_stops("0001-mm-move-the-allocator.patch: patch failed: mm/Makefile", self.check)

    def test_edited_patch_that_still_applies(self):
        self.edit(self.patch(1), "It gets a file of its own.", "It gets  a file of its own.")
        self.assertEqual(self.check(), [])     # a changelog is as good as any other
        self.edit(self.patch(3), "@@ -0,0 +1 @@", "@@ -0,0 +1,1 @@")
        self.assert_one_fault(self.check(), "0003-", "not what refresh writes")

    def test_base_that_moved_on_is_noted(self):
        self.edit(self.pristine / "mm/Makefile", "file19.o", "file20.o")
        self.assertEqual(self.check(), [])
        self.assertIn("made on another mm/Makefile", self.said)

    def test_file_that_the_base_has_already(self):
        series.write(self.pristine / NEW, "int theirs;\n")
        self.assert_stops("0001-.*already exists", self.check)

    def test_rename_stays_a_rename(self):
        self.git("mv", "mm/sparse.c", "mm/dense.c")
        self.commit("mm: rename\n\nBetter name.")
        self.refresh()
        self.assertIn("rename to mm/dense.c", self.patch(4).read_text())
        self.assertFalse((self.root / "mm/dense.c").exists())       # its origin is the base's
        self.assertEqual(self.check(), [])


class Vanilla(SeriesTest):
    def debian(self, *diffs):
        self.pristine.with_name("pristine.json").write_text(json.dumps({"revision": "7.3-1", "suite": "sid"}))
        paths = []
        for number, text in enumerate(diffs):
            paths.append(self.root.parent / f"debian{number}.patch")
            paths[-1].write_text(text)
        with mock.patch.object(series, "debian_patches", return_value=paths):
            return self.quiet(series.vanilla, self.series, self.pristine)

    def test_debian_elsewhere(self):
        self.assertEqual(self.debian("--- a/fs/x.c\n+++ b/fs/x.c\n@@ -1 +1 @@\n-a\n+b\n"), [])
        self.assertIn("0 of the 6 files", self.said)

    def test_debian_in_another_place_of_our_file(self):
        self.assertEqual(self.debian("--- a/mm/Makefile\n+++ b/mm/Makefile\n@@ -18,3 +18,3 @@\n obj-y += file17.o\n"
                                     " obj-y += file18.o\n-obj-y += fileX.o\n+obj-y += file19.o\n"), [])
        self.assertIn("taking back debian0.patch: mm/Makefile", self.said)

    def test_debian_in_our_context(self):
        diff = ("--- a/mm/Makefile\n+++ b/mm/Makefile\n@@ -2,4 +2,4 @@\n obj-y += file1.o\n"
                "-obj-y += fileX.o\n+obj-y += file2.o\n obj-y += file3.o\n obj-y += file4.o\n")
        self.assert_stops("0001-.*mm/Makefile", self.debian, diff)


if __name__ == "__main__":
    unittest.main()
