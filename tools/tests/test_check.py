# SPDX-License-Identifier: GPL-2.0-only
"""check.py: each check on a small checkout that is fine, and then on one with one fault."""

import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import check
import series
from common import Stop

SPDX = "SPDX-License-Identifier: GPL-2.0-only"
SUITE = f"""// {SPDX}
static struct kunit_case one_cases[] = {{
	/* KUNIT_CASE(in_a_comment), */
	KUNIT_CASE(first),
	KUNIT_CASE_PARAM(second, params),
	{{}}
}};
static struct kunit_suite one_suite = {{
	.name = "one",
	.test_cases = one_cases,
}};
static struct kunit_case two_cases[] = {{
	KUNIT_CASE_SLOW(third),
	{{}}
}};
static struct kunit_suite two_suite = {{
	.name = "two",
	.test_cases = two_cases,
}};
"""
ENVIRONMENTS = f'# {SPDX}\n[um]\nsuites = ["one"]\n[x86_64]\nparts = ["x"]\n[parts.x]\nsuites = ["one", "two"]\n'


class CheckTest(unittest.TestCase):
    FILES = {"tools/a.py": f"# {SPDX}\n", "tools/environments.toml": ENVIRONMENTS, "mm/tests/one_kunit.c": SUITE,
             "docs/a.md": "# A page: one\n", "README.md": "[doc](docs/a.md#a-page-one) [web](https://x.org/y)\n",
             "mm/tests/.kunitconfig": "# why\nCONFIG_A=y\nCONFIG_B=\"x y\"\nCONFIG_N=-1\n# CONFIG_C is not set\n",
             "run.sh": f"#!/bin/sh\n# {SPDX}\necho hello\n", "patches/7.3/01-x/0001-x.patch": "From 0\n \n"}

    def setUp(self):
        temp = tempfile.TemporaryDirectory()
        self.addCleanup(temp.cleanup)
        self.root = Path(temp.name)
        series.git("init", "-q", cwd=self.root)
        for path, text in self.FILES.items():
            series.write(self.root / path, text)

    def faults(self, function, changes=None, **more):
        for path, text in (changes or {}).items():
            series.write(self.root / path, text)
        return list(function(check.Repo(self.root), **more))

    def assert_fault(self, function, changes, *words, **more):
        """Fine without `changes`; with them exactly one line, which has all `words`."""
        self.assertEqual(self.faults(function, **more), [])
        faults = self.faults(function, changes, **more)
        self.assertEqual(len(faults), 1, faults)
        for word in words:
            self.assertIn(word, faults[0])


class Files(CheckTest):
    def test_python_syntax(self):
        self.assert_fault(check.python_syntax, {"tools/b.py": "x = 1\nif x\n"}, "tools/b.py:2")

    @unittest.skipUnless(check.shutil.which("shellcheck"), "shellcheck is not installed")
    def test_shellcheck(self):
        self.assert_fault(check.shell_scripts, {"run.sh": f"#!/bin/sh\n# {SPDX}\nread -r a\necho $a\n"}, "run.sh:4", "SC2086")

    def test_shell_syntax_without_shellcheck(self):
        with mock.patch.object(check.shutil, "which", return_value=None):
            self.assert_fault(check.shell_scripts, {"go": "#!/bin/sh\nif true\n"}, "go")

    def test_bash_is_not_checked_as_sh(self):
        with mock.patch.object(check.shutil, "which", return_value=None):
            self.assertEqual(self.faults(check.shell_scripts, {"go": "#!/usr/bin/env bash\na=(1 2)\n"}), [])

    def test_nothing_to_look_at_is_a_skip(self):
        (self.root / "run.sh").unlink()
        tally = check.Tally()
        with mock.patch.object(check, "say") as said:
            check.one_check(tally, "x", check.shell_scripts, check.Repo(self.root))
        self.assertEqual((tally.passed, tally.failed, tally.skipped), (0, 0, 1))
        self.assertIn("there are no shell scripts", said.call_args[0][0])

    def test_spdx(self):
        self.assert_fault(check.spdx, {"tools/b.py": f'"""x"""\n# {SPDX}\n'}, "tools/b.py")

    def test_spdx_of_another_licence(self):
        self.assert_fault(check.spdx, {"tools/b.py": "# SPDX-License-Identifier: MIT\n"}, "tools/b.py")

    def test_large_file(self):
        self.assert_fault(check.sizes, {"x.txt": "x" * (check.LARGE + 1)}, "x.txt", "300 kB")

    def test_binary_file(self):
        self.assert_fault(check.sizes, {"x.txt": "x\0"}, "x.txt", "binary")

    def test_white_space(self):
        for text, word in (("x \n", "x.txt:1"), ("a\n  \tx\n", "x.txt:2"), ("x", "newline"), ("x\n\n", "newline")):
            with self.subTest(text):
                (self.root / "x.txt").unlink(missing_ok=True)
                self.assert_fault(check.whitespace, {"x.txt": text}, "x.txt", word)

    def test_kunitconfig(self):
        for line in ("CONFIG_A", "CONFIG_A=yes", "A=y", "# CONFIG_A is unset", "CONFIG_A = y"):
            with self.subTest(line):
                (self.root / "x.kunitconfig").unlink(missing_ok=True)
                self.assert_fault(check.kunitconfig, {"x.kunitconfig": f"CONFIG_KUNIT=y\n{line}\n"}, "x.kunitconfig:2")

    def test_links(self):
        self.assert_fault(check.links, {"docs/b.md": "[x](../README.md)\n```\n[y](gone)\n```\n[z](missing.md)\n"}, "docs/b.md", "missing.md")

    def test_links_to_headings(self):
        self.assert_fault(check.links, {"docs/b.md": '<a id="two"></a>\n# One\n[x](#one) [x](#two) [y](a.md#two)\n'}, "a.md#two", "heading")

    def test_ignored_files_are_not_looked_at(self):
        self.assertEqual(self.faults(check.spdx, {".gitignore": "out\n", "out/x.py": "x\n"}), [])


class Suites(CheckTest):
    def test_cases_are_found_suite_by_suite(self):
        self.assertEqual(check.kunit_cases(check.Repo(self.root)), {"one.first", "one.second", "two.third"})


class LeftOut(CheckTest):
    REVERTS = """[three]
none = "a suite"
["mm/two: fix"]
env = ["um", "x86_64"]
red = ["one.first"]
"""
    FILES = CheckTest.FILES | {
        "patches/7.3/01-x/0001-x.patch": "Subject: [PATCH 1/2] three\n\n", "tools/reverts.toml": REVERTS,
        "patches/7.3/01-x/0002-y.patch": "Subject: [PATCH 2/2] mm/two:\n fix\n\n"}

    def reverts(self, old, new, *words):
        self.assertIn(old, self.REVERTS)
        self.assertEqual(self.faults(check.left_out), [])
        faults = self.faults(check.left_out, {"tools/reverts.toml": self.REVERTS.replace(old, new)})
        self.assertTrue(all(word in faults[0] for word in words), faults)

    def test_patch_without_entry(self):
        self.reverts('[three]\nnone = "a suite"\n', "", "no entry for patches/7.3/01-x/0001-x.patch", '["three"]')

    def test_entry_without_patch(self):
        self.reverts("[three]", '[four]\nnone = "x"\n[three]', 'no patch has the subject "four"')

    def test_entry_without_anything(self):
        self.reverts('none = "a suite"\n', "", '"three"', "needs `env` and `red`")

    def test_case_that_does_not_exist(self):
        self.reverts('["um", "x86_64"]\nred = ["one.first"', '"um"\nred = ["one.gone"', "no KUnit case one.gone")

    def test_case_that_does_not_run_there(self):
        self.reverts('"one.first"', '"two.third"', "two.third does not run in um")

    def test_unknown_environment(self):
        self.reverts('"um"', '"vax"', "no environment vax")

    def test_not_toml(self):
        series.write(self.root / "tools/reverts.toml", "[")
        with self.assertRaisesRegex(Stop, "tools/reverts.toml: "):
            self.faults(check.left_out)


class Kernel(CheckTest):
    """checkpatch.pl and kernel-doc are played by scripts; the real ones run in `make check`."""

    def setUp(self):
        super().setUp()
        self.base = self.root / "base"
        (self.root / ".gitignore").write_text("base\n")
        self.patch = self.root / "patches/7.3/01-x/0001-x.patch"
        self.patch.write_text("Subject: mm/sparse: x\n-moved\n+moved\n+new\n")
        for patcher in (mock.patch.object(check, "pristine", return_value=self.base), mock.patch.object(check, "CACHE", self.root / "cache")):
            patcher.start()
            self.addCleanup(patcher.stop)

    def checkpatch(self, *lines):
        prints = "".join(f'print "$ARGV[-1]:{line}\\n";' for line in lines)
        series.write(self.base / "scripts/checkpatch.pl", f"{prints} exit {len(lines)};")
        return self.faults(check.checkpatch)

    def test_checkpatch(self):
        self.assertEqual(self.checkpatch(), [])
        self.assertEqual(self.checkpatch("4: ERROR:SPACING: no"), ["patches/7.3/01-x/0001-x.patch:4: ERROR:SPACING: no"])
        self.assertEqual(len(self.checkpatch("4: CHECK:SPACING: no", "4: WARNING:SPACING: no")), 2)

    def test_checkpatch_remembers_what_was_clean(self):
        script = "print time > $^T + 9 ? '' : -e 'seen' ? \"$ARGV[-1]:4: ERROR:SPACING: no\\n\" : ''; open(F, '>seen'); exit 0;"
        series.write(self.base / "scripts/checkpatch.pl", script)
        for change, count in (("", 0), ("", 0), ("+more\n", 1), ("", 1)):
            self.patch.write_text(self.patch.read_text() + change)
            self.assertEqual(len(self.faults(check.checkpatch)), count)

    def test_checkpatch_moved_lines_and_ignored_types(self):
        self.assertEqual(self.checkpatch("3: CHECK:SPACING: no", "4: WARNING:UNKNOWN_COMMIT_ID: x",
                                         "4: WARNING:FILE_PATH_CHANGES: x", "1: WARNING:EMAIL_SUBJECT: tool"), [])
        self.assertEqual(len(self.checkpatch("4: WARNING:EMAIL_SUBJECT: tool")), 1)

    def test_checkpatch_that_does_not_run(self):
        series.write(self.base / "scripts/checkpatch.pl", 'die "broken\\n";')
        self.assertEqual(self.faults(check.checkpatch), ["broken"])
        series.write(self.base / "scripts/checkpatch.pl", "exit 3;")
        self.assertEqual(len(self.faults(check.checkpatch)), 1)

    def test_kernel_doc(self):
        tool = self.base / "scripts/kernel-doc"
        series.write(tool, "#!/bin/sh\nexit 0\n")
        tool.chmod(0o755)
        self.assertEqual(self.faults(check.kernel_doc), [])
        series.write(tool, "#!/bin/sh\nfor last; do :; done\necho $last:1 bad\n")
        tool.chmod(0o755)
        self.assertEqual(self.faults(check.kernel_doc), ["mm/tests/one_kunit.c:1 bad"])

    def test_no_patches(self):
        self.patch.unlink()
        self.assertEqual(self.faults(check.series_check), ["patches/: no series"])

    def test_no_base_is_a_skip(self):
        mock.patch.stopall()
        with mock.patch.object(check.base, "cached", return_value=None), mock.patch.object(check.base, "get_base", side_effect=Stop("no network")):
            with self.assertRaisesRegex(check.Skip, "no network"):
                self.real_pristine("7.3")

    real_pristine = staticmethod(check.pristine)


class Results(CheckTest):
    def run_all(self, *checks, **tests):
        """(passed, failed, skipped), what was printed."""
        for name, text in tests.items():
            series.write(self.root / f"tools/tests/{name}.py", text)
        tally = check.Tally()
        with mock.patch.object(check, "CHECKS", checks), contextlib.redirect_stdout(io.StringIO()) as said:
            check.all_checks(tally, self.root)
        return (tally.passed, tally.failed, tally.skipped), said.getvalue()

    @staticmethod
    def raises(error):
        def function(_repo):
            raise error
        return function

    def test_goes_on_after_failures_and_counts_unit_tests(self):
        text = ("import unittest\nclass T(unittest.TestCase):\n    def test_a(self): pass\n    def test_b(self): pass\n"
                "    def test_c(self): self.fail('x')\n    @unittest.skip('y')\n    def test_d(self): pass\n")
        counts, said = self.run_all(("good", lambda repo: []), ("bad", lambda repo: ["one", "two"]), ("stops", self.raises(Stop("cannot"))),
                                    ("skipped", self.raises(check.Skip("not here"))), test_x=text, test_y=text)
        self.assertEqual(counts, (1 + 2 * 2, 2 + 1 + 2 * 1, 1 + 2 * 1))
        lines = [line.split(None, 3) for line in said.splitlines()]
        self.assertEqual([(words[0], words[3]) for words in lines if words[0] in ("pass", "FAIL", "skip")],
                         [("pass", "good"), ("FAIL", "bad"), ("FAIL", "stops"), ("skip", "skipped: not here"),
                          ("FAIL", "unit tests: 4 passed, 2 skipped")])
        for line in ("one", "two", "cannot"):
            self.assertIn(f"\n      {line}\n", said)
        self.assertEqual(said.count("FAIL: test_c"), 2)

    def test_tests_that_do_not_count(self):
        for name, text, wanted in (("other", "", "there are no unit tests"), ("test_x", "", "test_x.py: no tests"),
                                   ("test_x", "import os\nos._exit(0)\n", "test_x.py: no tests, exit code 0"),
                                   ("test_x", "import time\ntime.sleep(60)\n", "test_x.py: no answer in 2 s")):
            with self.subTest(wanted), mock.patch.object(check, "TESTS_TIMEOUT", 2 if "time" in text else 60):
                counts, said = self.run_all(**{name: text})
                self.assertEqual(counts, (0, 1, 0))
                self.assertIn(wanted, said)

    def test_exit_code(self):
        for counts, code in ((1, 0), 0), ((1, 1), 1), ((0, 0), 1):
            tally = check.Tally()
            tally.count(*counts)
            with mock.patch.object(check, "say"):
                self.assertEqual(tally.conclude(), code)


if __name__ == "__main__":
    unittest.main()
