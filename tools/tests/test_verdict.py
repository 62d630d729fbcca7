# SPDX-License-Identifier: GPL-2.0-only
"""What a whole run cannot show: kunit.py that disagrees with the log, and every kind of kernel complaint."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import verdict      # noqa: E402 pylint: disable=wrong-import-position

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


def leaf(name, status="PASS"):
    return {"name": name, "status": status}


def results(*cases, parameters=(("p", "PASS"), ("q", "SKIP"))):
    sub = {"name": "b", "sub_groups": [], "test_cases": [leaf(*row) for row in parameters]}
    suite = {"name": "s", "sub_groups": [sub], "test_cases": [leaf(*case) for case in cases]}
    return {"name": "main", "sub_groups": [suite], "test_cases": []}


GOOD = results(("a",))


class Judge(unittest.TestCase):
    def reasons(self, log=LOG, decoded=GOOD, status=0, promised=("s",), skips=SKIPS, **more):
        judged = verdict.judge(log, decoded, status, promised, skips, **more)
        self.assertEqual(judged.status, verdict.FAIL if judged.reasons else verdict.PASS)
        return "; ".join(judged.reasons)

    def test_agreement(self):
        self.assertEqual(self.reasons(), "")

    def test_kunit_py_sees_another_result(self):
        self.assertIn("disagree", self.reasons(decoded=results(("a", "FAIL"))))
        self.assertIn("disagree", self.reasons(decoded=results(("a",), ("c",))))
        self.assertIn("disagree", self.reasons(decoded=results(("a",), parameters=[("p", "PASS")])))

    def test_kunit_py_failed_or_wrote_nothing(self):
        self.assertIn("kunit.py exited with 1", self.reasons(status=1))
        self.assertIn("wrote no JSON", self.reasons(decoded=None))

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
        decoded = results(("a",), parameters=[("p", "SKIP"), ("q", "SKIP")])
        self.assertEqual(self.reasons(log, decoded, skips=("s.b",)), "")
        self.assertEqual(self.reasons(log, decoded), "skipped, but not expected to be: s.b/p (no reason given)")
        log = LOG.replace("1..1\n", "1..2\n") + "[    0.500000] ok 2 t # SKIP nothing to do\n"
        decoded = results(("a",))
        decoded["test_cases"].append(leaf("t", "SKIP"))
        self.assertEqual(self.reasons(log, decoded), "skipped, but not expected to be: t (nothing to do)")
        self.assertEqual(self.reasons(log, decoded, skips=("t", *SKIPS)), "")

    def test_seconds_and_parameters(self):
        suite = verdict.parse(LOG).suites[0]
        self.assertEqual([(case.name, case.seconds) for case in suite.rows], [("a", 0.15), ("b", 0.15)])
        self.assertEqual([(row.name, row.status, row.seconds, row.comment) for row in suite.rows[1].rows],
                         [("p", "PASS", 0.05, ""), ("q", "SKIP", 0.1, "not here")])

    def test_log_without_stamps(self):
        log = "".join(line[15:] for line in LOG.splitlines(keepends=True))
        self.assertEqual(self.reasons(log=log), "")
        self.assertIsNone(verdict.parse(log).suites[0].rows[0].seconds)

    def test_every_prefix_of_the_log_fails(self):
        lines = LOG.splitlines(keepends=True)
        for count in range(len(lines)):
            with self.subTest(lines=count):
                self.assertNotEqual(self.reasons(log="".join(lines[:count])), "")

    def test_every_missing_line_fails(self):
        # The headers of a suite or case are no loss: plan, numbers and names still add up or do not.
        lines = LOG.splitlines(keepends=True)
        for index, line in enumerate(lines):
            if not line.rstrip().endswith("KTAP version 1"):
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
