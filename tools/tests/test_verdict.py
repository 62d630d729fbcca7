# SPDX-License-Identifier: GPL-2.0-only
"""What a whole run cannot show: logs that lack a line, and every kind of kernel complaint."""

import contextlib
import io
import re
import sys
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import verdict      # noqa: E402 pylint: disable=wrong-import-position
from base import get_base       # noqa: E402 pylint: disable=wrong-import-position

RECORDED = (Path(__file__).parent / "data/um.log").read_text(encoding="utf-8")
LOG = """\
[    0.100000] KTAP version 1
[    0.100000] 1..1
[    0.100000]     KTAP version 1
[    0.100000]     # Subtest: s
[    0.100000]     1..2
[    0.250000]     ok 1 a
[    0.250000]         KTAP version 1
[    0.250000]         # Subtest: b
[    0.300000]         ok 1 p
[    0.400000]         ok 2 q # SKIP not here
[    0.400000]     ok 2 b
[    0.400000] ok 1 s
"""


SKIPS = ("s.b/q",)


class Judge(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with contextlib.redirect_stdout(io.StringIO()):
            cls.kernel = get_base("7.3").path

    def reasons(self, log=LOG, status=0, promised=("s",), skips=SKIPS, **more):
        judged = verdict.judge(log, self.kernel, status, promised, skips, **more)
        self.assertEqual(judged.status, verdict.FAIL if judged.reasons else verdict.PASS)
        return "; ".join(judged.reasons)

    def test_good_log(self):
        self.assertEqual(self.reasons(), "")

    def test_recorded_log_with_one_fault(self):
        case, suite = "ok 6 exhaustion_changes_nothing", re.search(r"\] ok 1 vmem_altmap\n", RECORDED).start() + 2
        at = RECORDED.index(case)
        for fault, reason, log in (
                ("suite failed", "failed: vmem_altmap", RECORDED[:suite] + "not " + RECORDED[suite:]),
                ("parameter failed", "failed: vmem_altmap.exact_fit_succeeds", RECORDED.replace("ok 3 block\n", "not ok 3 block\n", 1)),
                ("all skipped", "every case was skipped", re.sub(r"(\]     ok \d+ \w+)$", r"\1 # SKIP nothing", RECORDED, flags=re.M)),
                ("truncated", "vmem_altmap: missing expected subtest!", RECORDED[:RECORDED.index("\n", at)]),
                ("no last line", "vmem_altmap: missing subtest result line!", RECORDED[:suite]),
                ("empty", "Could not find any KTAP output", ""),
                ("no tests", "Could not find any KTAP output", "[    0.080000] reboot: System halted\n"),
                ("0 tests", "main: 0 tests run!", "[    0.080000] KTAP version 1\n[    0.080000] 1..0\n"),
                ("warning after the tests", "kernel complaint: BUG: KASAN: use", RECORDED + "[    0.1] BUG: KASAN: use-after-free in f\n"),
                ("other suite", "suite vmem_altmap did not run", RECORDED.replace(" vmem_altmap\n", " other\n")),
                ("plan of cases", "vmem_altmap: missing expected subtest!", RECORDED.replace("     1..18\n", "     1..19\n")),
                ("plan of cases too small", "vmem_altmap: missing subtest result line!", RECORDED.replace("     1..18\n", "     1..17\n")),
                ("plan of suites", "main: missing expected subtest!", RECORDED.replace("] 1..3\n", "] 1..4\n"))):
            with self.subTest(fault):
                self.assertIn(reason, self.reasons(log, promised=("vmem_altmap",), skips=()))
        self.assertEqual(self.reasons(RECORDED, promised=("vmem_altmap",), skips=()), "")

    def test_kunit_py_failed(self):
        self.assertIn("kunit.py exited with 1", self.reasons(status=1))

    def test_older_parser_takes_no_printer(self):
        parser = verdict.kunit_parser(self.kernel)
        real = parser.parse_run_tests
        with mock.patch.object(parser, "parse_run_tests", lambda kernel_output: real(kernel_output, parser.stdout)):
            self.assertEqual(self.reasons(), "")
            self.assertIn("s: missing subtest result line!", self.reasons(LOG.rpartition("[")[0]))

    def test_promises(self):
        self.assertIn("suite t did not run", self.reasons(promised=("s", "t")))
        self.assertEqual(self.reasons(promised=("s", "t"), filter_glob="s"), "")
        self.assertEqual(self.reasons(promised=("s", "t"), filter_glob="*.a"), "")
        self.assertIn("suite t did not run", self.reasons(promised=("s", "t"), filter_glob="[st]*"))

    def test_skips_are_exactly_those_expected(self):
        for skips, reason in (
                ((), "skipped, but not expected to be: s.b/q (not here)"),
                (("t.*",), "skipped, but not expected to be: s.b/q (not here); skips has 't.*', which no case matches"),
                (("s.b/[qr]",), ""),
                (("s.b/*",), "not skipped, but expected to be by 's.b/*': s.b/p"),
                (("s.b",), "not skipped, but expected to be by 's.b': s.b/p"),
                (("s.a", *SKIPS), "not skipped, but expected to be by 's.a': s.a"),
                (("s.c", *SKIPS), "skips has 's.c', which no case matches")):
            with self.subTest(skips=skips):
                self.assertEqual(self.reasons(skips=skips), reason)
        self.assertEqual(self.reasons(skips=("t.*", *SKIPS), filter_glob="s*"), "")

    def test_skipped_as_a_whole(self):
        log = LOG.replace("ok 1 p\n", "ok 1 p # SKIP\n").replace("ok 2 b\n", "ok 2 b # SKIP\n")
        self.assertEqual(self.reasons(log, skips=("s.b",)), "")
        self.assertEqual(self.reasons(log), "skipped, but not expected to be: s.b/p (no reason given)")
        log = LOG.replace("1..1\n", "1..2\n") + "[    0.500000] ok 2 t # SKIP nothing to do\n"
        self.assertEqual(self.reasons(log), "skipped, but not expected to be: t (nothing to do)")
        self.assertEqual(self.reasons(log, skips=("t", *SKIPS)), "")

    def test_seconds_and_parameters(self):
        suite = verdict.parse(LOG, self.kernel).suites[0]
        self.assertEqual([(case.name, case.seconds) for case in suite.rows], [("a", 0.15), ("b", 0.15)])
        self.assertEqual([(row.name, row.status, row.seconds, row.comment) for row in suite.rows[1].rows],
                         [("p", "PASS", 0.05, ""), ("q", "SKIP", 0.1, "not here")])

    def test_log_without_stamps(self):
        log = "".join(line[15:] for line in LOG.splitlines(keepends=True))
        self.assertEqual(self.reasons(log=log), "")
        self.assertIsNone(verdict.parse(log, self.kernel).suites[0].rows[0].seconds)

    def test_every_prefix_of_the_log_fails(self):
        lines = LOG.splitlines(keepends=True)
        for count in range(len(lines)):
            with self.subTest(lines=count):
                self.assertNotEqual(self.reasons(log="".join(lines[:count])), "")

    def test_every_missing_line_fails(self):
        # Headers and plans are no loss: numbers and names still add up or do not.
        lines = LOG.splitlines(keepends=True)
        for index, line in enumerate(lines):
            if not line.rstrip().endswith(("KTAP version 1", "1..1", "1..2", "# Subtest: s")):
                with self.subTest(line=line):
                    self.assertNotEqual(self.reasons(log="".join(lines[:index] + lines[index + 1:])), "")

    def test_complaints(self):
        for text in (
                "------------[ cut here ]------------",
                "WARNING: CPU: 0 PID: 33 at mm/vmem_altmap.c:93 f+0x1/0x2",
                "WARNING: possible circular locking dependency detected",
                "BUG: kernel NULL pointer dereference, address: 0000000000000000",
                "BUG: KASAN: slab-out-of-bounds in f+0x1/0x2",
                "BUG: KCSAN: data-race in f / g",
                "BUG: sleeping function called from invalid context at mm/x.c:1",
                "BUG: Bad page state in process kunit_try_catch  pfn:12345",
                "watchdog: BUG: soft lockup - CPU#0 stuck for 26s!",
                "kernel BUG at mm/vmem_altmap.c:7!",
                "Oops: general protection fault, 0000 [#1] SMP",
                "Kernel panic - not syncing: Fatal exception",
                "UBSAN: shift-out-of-bounds in mm/vmem_altmap.c:7:1",
                "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
                "rcu: INFO: rcu_sched self-detected stall on CPU",
                "INFO: task kunit:7 blocked for more than 120 seconds.",
                "kmemleak: 1 new suspicious memory leaks (see /sys/kernel/debug/kmemleak)",
                "refcount_t: underflow; use-after-free.",
                "list_del corruption. prev->next should be x",
                "Unable to handle kernel paging request at virtual address 0",
                "Kernel attempted to read user page (0) - exploit attempt? (uid: 0)",
        ):
            with self.subTest(text=text):
                self.assertIn("kernel complaint: ", self.reasons(log=LOG + f"[    0.5] {text}\n"))
                self.assertIn("kernel complaint: ", self.reasons(log=f"[    0.01][    T1] {text}\n" + LOG))

    def test_ordinary_lines_are_no_complaints(self):
        for text in ("Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on",
                     "    # a: Test that WARNING: and BUG: are reported",
                     "rcu: Preemptible hierarchical RCU implementation.",
                     "Kernel command line: panic_on_warn=0 oops=panic",
                     "x86/fpu: Supporting XSAVE feature 0x001: 'x87 floating point registers'"):
            with self.subTest(text=text):
                self.assertEqual(self.reasons(log=f"[    0.05] {text}\n" + LOG), "")
