# SPDX-License-Identifier: GPL-2.0-only
"""reverts.py: what its data may say, how a patch is taken out, and whole runs whose guest fails without a patch."""

import json
import subprocess
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

from fake import CHANGE, MAKE, NEW_FILES, RECORDED, TOOLS, FakeKernel, new_file, script

import reverts        # noqa: E402 pylint: disable=wrong-import-position
import variants
from common import Stop, write

CASE = "vmem_altmap.size_0_is_refused"
RED = RECORDED.replace(" ok 7 size_0_is_refused", " not ok 7 size_0_is_refused").\
    replace("] ok 1 vmem_", "] not ok 1 vmem_")
MORE = "Subject: [PATCH 3/3] mm: more\n\n---\n" + new_file("mm/more.c", "int more;") + """\
diff --git a/mm/Makefile b/mm/Makefile
--- a/mm/Makefile
+++ b/mm/Makefile
@@ -1,3 +1,4 @@
 obj-y := one.o
 obj-y += two.o
 obj-y += vmem_altmap.o
+obj-y += more.o
"""
NONE = '["mm: move"]\nnone = "all of it"\n'
BUILD = '["mm: build"]\nenv = "um"\nred = ["' + CASE + '"]\n'
EDITS = 'edits = [{ file = "mm/Makefile", old = "obj-y += vmem_altmap.o\\n", new = "" }]\n'
LAST = BUILD.replace("build", "more")


def patch(directory, name, text):
    """The Patch of a file with `text`."""
    write(Path(directory, name), text)
    return reverts.Patch(Path(directory, name))


class Data(unittest.TestCase):
    def test_forms(self):
        found = {"7.3": {"one": types.SimpleNamespace(name="1")}}
        for table in ({"none": "why"}, {"env": "um", "red": ["a.b"]}, {"red": {"um": ["a.b"], "x": ["a.c"]}, "broad": True}):
            with self.subTest(table):
                self.assertEqual(list(reverts.problems({"one": table}, found)), [])
        for table in (1, {}, {"none": "why", "env": "um"}, {"env": "um"}, {"red": ["a.b"]}, {"env": "um", "red": []},
                      {"red": {}}, {"env": "um", "red": ["a.b"], "brod": True}):
            with self.subTest(table):
                self.assertEqual(len(list(reverts.problems({"one": table}, found))), 1)

    def test_each_patch_has_an_entry_and_each_entry_a_patch(self):
        with tempfile.TemporaryDirectory() as temp:
            patches = {"7.3": {"mm: build": patch(temp, "01-mm/0002-mm-build.patch", CHANGE)}, "6.12": {}}
        entry = {"none": "why"}
        self.assertEqual(list(reverts.problems({"mm: build": entry}, patches)), [])
        self.assertEqual(list(reverts.problems({}, patches)),
                         ['tools/reverts.toml: no entry for patches/7.3/01-mm/0002-mm-build.patch: add ["mm: build"]'])
        self.assertEqual(list(reverts.problems({"mm: build": entry, "mm: gone": entry}, patches)),
                         ['tools/reverts.toml: no patch has the subject "mm: gone"'])


    def test_comparison(self):
        """What is said of the cases that fail, and whether that is as it should be."""
        for wanted, failed, broad, killed, said in (
                (["a.b"], ["a.b"], False, True, ["killed by 1 cases"]),
                (["a.b"], ["a.b", "a.c"], False, False, ["fails, but is not named: a.c"]),
                (["a.b"], ["a.b", "a.c"], True, True, ["killed by 2 cases"]),
                (["a.b"], ["a.c"], True, False, ["still passes: a.b"]),
                (["a.b"], [], True, False, ["still passes: a.b", "no case fails; why"])):
            with self.subTest(failed), mock.patch.object(variants, "say") as say:
                self.assertEqual(variants.compare(wanted, failed, broad, ["why"]), killed)
                self.assertEqual([call.args[0].strip() for call in say.call_args_list], said)


class LeftOut(unittest.TestCase):
    def setUp(self):
        temp = tempfile.TemporaryDirectory()
        self.addCleanup(temp.cleanup)
        self.work = types.SimpleNamespace(path=Path(temp.name, "work"))
        write(self.work.path / "mm/Makefile",
              "obj-y := one.o\nobj-y += two.o\nobj-y += vmem_altmap.o\nobj-y += more.o\n")
        write(self.work.path / "mm/more.c", "int more;\n")
        self.patches = {"mm: build": patch(temp.name, "2.patch", CHANGE), "mm: more": patch(temp.name, "3.patch", MORE)}

    def left_out(self, name, **entry):
        return reverts.left_out(self.work, name, entry, self.patches[name])

    def test_reverted(self):
        self.assertEqual(self.left_out("mm: more"), {
            "mm/Makefile": b"obj-y := one.o\nobj-y += two.o\nobj-y += vmem_altmap.o\n", "mm/more.c": None})

    def test_lines_that_changed_since(self):
        with self.assertRaisesRegex(Stop, "patch mm: build can not .*: mm/Makefile has changed since; add `edits` "):
            self.left_out("mm: build")

    def test_file_that_is_gone(self):
        (self.work.path / "mm/more.c").unlink()
        with self.assertRaisesRegex(Stop, "mm/more.c has changed since"):
            self.left_out("mm: more")

    def test_edits(self):
        edit = {"file": "mm/Makefile", "old": "obj-y += vmem_altmap.o\n", "new": ""}
        again = {"file": "mm/Makefile", "old": "two.o\nobj-y += more.o", "new": "2.o"}
        self.assertEqual(self.left_out("mm: build", edits=[edit, again]),
                         {"mm/Makefile": b"obj-y := one.o\nobj-y += 2.o\n"})
        with self.assertRaisesRegex(Stop, "patch mm: build: its `old` text stands 4 times in mm/Makefile, .*reverts"):
            self.left_out("mm: build", edits=[edit | {"old": "obj-y"}])
        with self.assertRaisesRegex(Stop, "no file mm/gone.c"):
            self.left_out("mm: build", edits=[edit | {"file": "mm/gone.c"}])


class Runs(FakeKernel):
    """The guest of the fake make fails in one case unless it was built with all patches."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        patches = cls.series / "patches/7.3/01-mm"
        for path in patches.iterdir():
            path.unlink()
        for number, name, text in ((1, "move", NEW_FILES), (2, "build", CHANGE), (3, "more", MORE)):
            write(patches / f"000{number}-mm-{name}.patch", text.replace("/2]", "/3]"))
        good = '[ -e mm/more.c ] && grep -q vmem_altmap.o mm/Makefile && cp "$FAKE_STATE/log" "$FAKE_STATE/now" || '
        script(cls.bin / "make", MAKE.replace("cp ", good + 'cp "$FAKE_STATE/red" "$FAKE_STATE/now"\ncp ', 1))
        write(cls.temp / "red", RED)

    def reverts(self, word="", data=NONE + BUILD + EDITS + LAST, **more):
        """(exit code, output, rows of reverts.json or None) of tools/reverts.py."""
        write(self.series / "tools/reverts.toml", data)
        done = subprocess.run([sys.executable, "-B", TOOLS / "reverts.py"], text=True, timeout=60, check=False,
                              env=self.environ(**{"ENV": None, "FILTER": word, "FAKE_LOG": self.temp / "now", **more}),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        path = self.temp / "out/reverts.json"
        return done.returncode, done.stdout, json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def stopped(self, line, word="", **more):
        code, output, rows = self.reverts(word, **more)
        errors = [text for text in output.splitlines() if text.startswith("error: ")]
        self.assertEqual((code, rows, len(errors), "Traceback" in output), (1, None, 1, False), output)
        self.assertIn(line, output.splitlines()[-1])

    def test_exactly_the_named_cases_fail(self):
        code, output, rows = self.reverts()
        self.assertEqual(code, 0, output)
        self.assertEqual([(row["name"], row["environment"], row["status"], row["red"]) for row in rows],
                         [("mm: build", "um", "killed", [CASE]), ("mm: more", "um", "killed", [CASE])])
        self.assertIn("2 killed, 0 survived, 0 equivalent\n", output)
        # The tree is whole again, and what was built last is its kernel.
        work = next((self.temp / "cache/vmem-altmap/work").glob("kdir-*[0-9a-f]"))
        text = (work / "mm/Makefile").read_text(encoding="utf-8")
        self.assertEqual(text, "obj-y := one.o\nobj-y += two.o\nobj-y += vmem_altmap.o\nobj-y += more.o\n")
        self.assertTrue((work / "mm/more.c").exists())
        self.assertEqual((self.temp / "now").read_text(encoding="utf-8"), RECORDED)

    def test_selection(self):
        for word in ("more", "0003"):
            code, output, rows = self.reverts(word)
            self.assertEqual((code, [row["name"] for row in rows]), (0, ["mm: more"]), output)
        self.setUp()        # removes the results
        self.stopped("no patch has 'gone' in its subject or file name", "gone")
        self.stopped("nothing to leave out: mm: move: all of it", "move")

    def test_does_not_build(self):
        self.stopped("without patch mm: more does not build: mm/vmem_altmap.c:7:1: error: unknown type", "more",
                     FAKE_MAKE="error")

    def test_environments(self):
        both = LAST.replace('"um"', '["um", "x86_64"]')
        code, output, rows = self.reverts("more", data=NONE + BUILD + EDITS + both, ENV="um")
        self.assertEqual((code, [row["environment"] for row in rows]), (0, ["um"]), output)
        self.setUp()        # removes the results
        self.stopped("nothing to be seen in ENV=x86_64", ENV="x86_64")
        self.stopped("unknown environment vax", data=NONE + BUILD + EDITS + LAST.replace('"um"', '"vax"'))

    def test_bad_data(self):
        self.stopped("mm/Makefile has changed since; add `edits`", data=NONE + BUILD + LAST)
        self.stopped('no entry for patches/7.3/01-mm/0003-mm-more.patch: add ["mm: more"]', data=NONE + BUILD + EDITS)
        self.stopped("tools/reverts.toml: ", data="[")


if __name__ == "__main__":
    unittest.main()
