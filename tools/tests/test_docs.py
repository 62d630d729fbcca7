# SPDX-License-Identifier: GPL-2.0-only
"""docs.py: what it generates, and each thing that is wrong with pages and data."""

import shlex
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import docs
import environments
from common import write

ENVIRONMENTS = """
[um]
about = "no MMU"
suites = ["one"]
default = true
[x86_64]
about = "four levels"
suites = ["one", "two"]
skips = ["two.sec*"]
[x86_64-la57]
about = "five levels"
suites = ["one", "two"]
"""
BEHAVIOURS = """
[rules]
R1 = "a rule"
[[behaviour]]
number = 1
text = "it works"
rules = ["R1"]
cases = ["one.first", "two.third"]
[[behaviour]]
number = 2
text = "it goes on"
rules = ["R1"]
cases = ["two.second"]
gap = "the end"
[cases]
one.other = "something else"
"""
REVERTS = """
["mm: fix"]
env = ["um", "x86_64"]
red = ["one.first"]
["mm: more"]
broad = true
red = { um = ["one.first"], x86_64 = ["two.third"] }
["mm: move"]
none = "moves"
"""
MUTANTS = """
[by-hand.off_by_one]
env = "um"
red = ["one.first"]
"""
BUGS = """# Bugs

<a id="b1"></a>
## B1: it breaks

- Symptom: it does
  not work
- Case: `one.first`, um
- Fix: 01-mm-fixes, "mm: fix"

<a id="b2"></a>
## B2: refuted
"""
KNOWN = {"one.first", "two.third", "two.second", "one.other"}
PAGE = "# Page\n\n" + "".join(f"<!-- generated: {name} -->\n<!-- end -->\n" for name in docs.PARTS) + "end\n"


class Docs(unittest.TestCase):
    def setUp(self):
        temp = tempfile.TemporaryDirectory()
        self.addCleanup(temp.cleanup)
        self.root = Path(temp.name)
        for name, text in {"tools/environments.toml": ENVIRONMENTS, docs.BEHAVIOURS: BEHAVIOURS, docs.REVERTS: REVERTS, docs.MUTANTS: MUTANTS,
                           docs.BUGS: BUGS,
                           "docs/page.md": PAGE, "patches/7.3/01-mm-fixes/0001-x.patch": "Subject: [PATCH] mm: fix\n\n"}.items():
            write(self.root / name, text)
        write(self.root / "docs/page.md", docs.written(self.root, PAGE))

    def test_tables(self):
        page = (self.root / "docs/page.md").read_text(encoding="utf-8")
        for line in ("| `um` | no MMU | yes |", "| `x86_64` | four levels |  |", "| R1 | a rule |",
                     "| 1 | it works | R1 | `one.first`, `two.third` | all |",
                     "| 2 | it goes on. Not asserted yet: the end | R1 | `two.second` | `x86_64-la57` |",
                     "| `one.other` | something else | all |",
                     "| mm: fix | `um`, `x86_64` | `one.first` |", "| mm: more | `um` | `one.first` and others |",
                     "| off_by_one | `um` | `one.first` |", "| mm: more | `x86_64` | `two.third` and others |",
                     "| it does not work | [B1](mainline-bugs.md#b1) | `one.first`, um | 01-mm-fixes |", "end"):
            self.assertIn(f"{line}\n", page)
        self.assertNotIn("mm: move", page)
        self.assertNotIn("B2", page)
        self.assertEqual(docs.where(["two.third"], environments.load(self.root)), "`x86_64*`")
        self.assertEqual([*docs.stale(self.root), *docs.problems(self.root, KNOWN)], [])

    def test_commands_are_those_of_make_run(self):
        for name, env in environments.load().items():
            words = shlex.split("\n".join(docs.command(env)).replace("\\\n", "").replace("$c/", f"{environments.SERIES}/tools/configs/"))
            self.assertEqual(words[:2], ["./tools/testing/kunit/kunit.py", "run"])
            wanted = environments.build_options(env) + [word for word in environments.guest_options(env) if "timeout" not in word]
            arguments = [word.partition("=")[2].split() for word in words if word.startswith("--kernel_args=")]
            self.assertEqual(arguments, [env["kernel_args"]], name)
            self.assertEqual(sorted(word for word in words[2:] if not word.startswith(("--kernel_args", "--build_dir"))),
                             sorted(word for word in wanted if not word.startswith("--kernel_args")), name)

    def faults(self, name, old, new, *words):
        """One fault, with all `words`, if the file `name` has `new` instead of `old`."""
        text = (self.root / name).read_text(encoding="utf-8")
        self.assertIn(old, text)
        write(self.root / name, text.replace(old, new, 1))
        write(self.root / "docs/page.md", docs.written(self.root, PAGE))
        found = list(docs.problems(self.root, KNOWN))
        write(self.root / name, text)
        self.assertEqual(len(found), 1, found)
        for word in words:
            self.assertIn(word, found[0])

    def test_stale(self):
        page = self.root / "docs/page.md"
        text = page.read_text(encoding="utf-8")
        for old, new, words in (("it works", "it worked", "docs/page.md: the generated parts differ from their data: run make docs"),
                                ("generated: rules", "generated: rulez", "docs/page.md: nothing generates rulez"),
                                ("<!-- end -->", "", "docs/page.md: `generated` and `end` comments do not match")):
            write(page, text.replace(old, new, 1))
            found = list(docs.stale(self.root))
            self.assertEqual([line.startswith(words) for line in found], [True], found)
        write(page, text)
        write(self.root / docs.BEHAVIOURS, BEHAVIOURS.replace("it works", "it worked"))
        self.assertEqual(len(list(docs.stale(self.root))), 1)

    def test_data(self):
        self.faults(docs.BEHAVIOURS, "number = 2", "number = 3", "not 1 to 2")
        self.faults(docs.BEHAVIOURS, '"one.first", ', '"one.first", "one.gone", ', "no KUnit case one.gone")
        self.faults(docs.BEHAVIOURS, "one.other = \"something else\"", "", "does not name the KUnit case one.other")
        self.faults(docs.BEHAVIOURS, 'rules = ["R1"]', 'rules = ["R2"]', "behaviour 1", "R2")
        self.faults(docs.BUGS, "mm: fix", "mm: fax", "B1", "mm: fax")
        self.faults(docs.BUGS, "`one.first`", "`one.gone`", "B1", "one.gone")

    def test_case_that_runs_nowhere(self):
        write(self.root / "tools/environments.toml", ENVIRONMENTS.replace('skips = ["two.sec*"]\n', "") + 'skips = ["two.third"]\n')
        self.assertEqual(list(docs.problems(self.root, KNOWN)), [])
        write(self.root / "tools/environments.toml", ENVIRONMENTS.replace("two.sec*", "two.*") + 'skips = ["two.third"]\n')
        self.assertEqual(list(docs.problems(self.root, KNOWN)), ["tools/environments.toml: two.third runs in no environment"])


if __name__ == "__main__":
    unittest.main()
