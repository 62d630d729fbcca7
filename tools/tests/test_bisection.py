# SPDX-License-Identifier: GPL-2.0-only
"""bisection.py: what counts as a fault, what kbuild compiles, and what is remembered. The compiler is played by Python."""

import contextlib
import io
import json
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import bisection
import series

DIFF = "--- a/mm/x.c\n+++ b/mm/x.c\n@@ -1,0 +2,2 @@ int a;\n+int b;\n+int c;\n@@ -9 +11 @@\n-x\n+y\n--- a/mm/gone.c\n+++ /dev/null\n@@ -1 +0,0 @@\n-z\n"


class Output(unittest.TestCase):
    def test_added_lines(self):
        self.assertEqual(bisection.added(DIFF)["mm/x.c"], {2, 3, 11})

    def test_what_counts(self):
        ours = {"mm/x.c": {2, 3}, "mm/Kconfig": {5}}
        warning = "mm/x.c: In function 'f':\nmm/x.c:%d:7: warning: unused\n"
        for status, output, wanted in (
                (0, "", None), (0, warning % 9, None), (0, "mm/y.c:2:7: warning: unused\n", None),
                (0, warning % 3, "mm/x.c:3:7: warning: unused"), (0, "mm/Kconfig:5:warning: odd\n", "mm/Kconfig:5:warning: odd"),
                (2, warning % 9 + "mm/y.c:4:1: error: no\nmake: *** [mm/y.o] Error 1\n", "mm/y.c:4:1: error: no"),
                (2, "killed\n", "killed"), (2, "", "no output")):
            with self.subTest(output):
                self.assertEqual(bisection.problem(status, output, ours), wanted)


class Commits(unittest.TestCase):
    """A git tree of two patches that touch three files."""

    def setUp(self):
        temp = tempfile.TemporaryDirectory()
        self.addCleanup(temp.cleanup)
        top = Path(temp.name)
        self.tree, self.memory, self.tried, self.fails = top / "tree", top / "good.json", [], None
        series.git("init", "-q", self.tree, cwd=top)
        self.commit("base", {"mm/Makefile": "obj-$(CONFIG_A) += both.o tests/t.o sub/\nobj-$(CONFIG_B) += b.o\nboth-y := x.o y.o\n",
                             "mm/x.c": "1", "mm/sub/Makefile": "obj-y += s.o\n", "mm/off/Makefile": "obj-y += o.o\n"})
        series.git("tag", "base", cwd=self.tree)
        self.patches = {"01-a/0001": self.commit("one", {"mm/x.c": "2"}), "01-a/0002": self.commit("two", {"mm/b.c": "1"})}
        self.env = {**bisection.environments.choose("um")[0], "name": "um"}

    def commit(self, message, files):
        for path, text in files.items():
            series.write(self.tree / path, text)
        series.git("add", "-A", cwd=self.tree)
        series.git("commit", "-q", "-m", message, cwd=self.tree)
        return series.git("rev-parse", "HEAD", cwd=self.tree).strip()

    def kernel(self):
        kernel = bisection.Kernel(self.env, self.tree, self.memory.with_name("src"), ["mm/b.c", "mm/x.c"])
        kernel.build.mkdir(exist_ok=True)
        return kernel

    def compile_all(self):
        """Whether all are good; `self.tried` are the commits that were compiled, `self.said` the output."""
        self.tried, kernel = [], self.kernel()
        kernel.saved = self.memory.with_name("config")
        series.write(kernel.saved, "CONFIG_A=y\n")
        def compile_one(commit, _files):
            self.tried.append(next(name for name, one in self.patches.items() if one == commit))
            return ["mm/x.o"], "mm/x.c:1: error: no" if self.tried[-1] == self.fails else None
        good = json.loads(self.memory.read_text()) if self.memory.exists() else {}
        with mock.patch.multiple(kernel, configure=lambda head: None, compile=compile_one), \
                contextlib.redirect_stdout(io.StringIO()) as said:
            result = kernel.compile_all(self.patches, good, self.memory)
        self.said = said.getvalue()
        return result

    def test_what_is_good_is_remembered(self):
        one, two = self.patches
        self.fails = two
        self.assertFalse(self.compile_all())
        self.assertIn("FAIL: 01-a/0002 two: um: mm/x.c:1: error: no\n", self.said)
        self.fails = None
        self.assertTrue(self.compile_all())
        self.assertEqual(self.tried, [two])
        self.assertTrue(self.compile_all())
        self.assertEqual(self.tried, [])
        self.patches[two] = self.commit("other", {"mm/b.c": "2"})
        self.assertTrue(self.compile_all())
        self.assertEqual(self.tried, [two])
        with mock.patch.object(bisection.prereq, "compiler", return_value="gcc 99"):
            self.assertTrue(self.compile_all())
        self.assertEqual(self.tried, [one, two])

    def test_first_failure_ends_it(self):
        self.fails = next(iter(self.patches))
        self.assertFalse(self.compile_all())
        self.assertEqual(self.tried, [self.fails])

    def test_what_kbuild_compiles(self):
        kernel = self.kernel()
        kernel.source = self.tree
        (kernel.build / ".config").write_text("CONFIG_A=y\n# CONFIG_B is not set\n")
        self.assertEqual([name for name in ("both.o", "x.o", "y.o", "tests/t.o", "sub/s.o", "b.o", "off/o.o", "none.o")
                          if kernel.builds(Path("mm", name), {})], ["both.o", "x.o", "y.o", "tests/t.o", "sub/s.o"])

    def test_after_a_failure_the_compiler_speaks_again(self):
        kernel, (one, _) = self.kernel(), self.patches.values()
        kernel.saved, files = self.memory.with_name("config"), series.blobs(self.tree, one, kernel.touched)
        series.write(kernel.saved, "")
        made = []
        def make(*goals):
            made.append((goals, (kernel.build / "mm/x.o").exists()))
            series.write(kernel.build / "mm/x.o", "")
            return 0, "mm/x.c:1:1: warning: x\n" if goals != ("olddefconfig",) and len(made) < 4 else ""
        with mock.patch.multiple(kernel, make=make, check_out=lambda commit: None, builds=lambda goal, known: goal.name == "x.o"):
            self.assertEqual(kernel.compile(one, files), (["mm/x.o"], "mm/x.c:1:1: warning: x"))
            self.assertEqual(kernel.compile(one, files), (["mm/x.o"], "mm/x.c:1:1: warning: x"))
            self.assertEqual(kernel.compile(one, files), (["mm/x.o"], None))
            kernel.compile(one, files)
        self.assertEqual([there for goals, there in made if goals == ("mm/x.o",)], [True, False, False, True])

    def test_object_without_source(self):
        kernel, (one, _) = self.kernel(), self.patches.values()
        kernel.symbols = []
        with mock.patch.multiple(kernel, check_out=lambda commit: None, builds=lambda goal, known: True):
            self.assertEqual(kernel.compile(one, series.blobs(self.tree, one, kernel.touched))[1],
                             "a Makefile names mm/b.o, but there is no mm/b.c")


if __name__ == "__main__":
    unittest.main()
