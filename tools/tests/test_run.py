# SPDX-License-Identifier: GPL-2.0-only
"""Honest verdicts: recorded and broken logs through the whole of make run."""

import os
import re
import signal
import subprocess
import sys
import unittest
import xml.etree.ElementTree

from fake import GUEST, RECORDED, TOOLS, FakeKernel, processes, script


CASE = "ok 6 exhaustion_changes_nothing"
SUITE = re.compile(r"(?<=\] )ok 1 vmem_altmap$", re.M)
STAMP = "[    0.080000]     "


def before(text, insert, log=RECORDED):
    """The log with whole lines put in front of the line that ends with `text`."""
    start = log.rindex("\n", 0, log.index(text)) + 1
    return log[:start] + insert + log[start:]


def cut(text, log=RECORDED):
    """The log up to and with the line that ends with `text`."""
    return log[:log.index("\n", log.index(text)) + 1]


FAILED = SUITE.sub("not ok 1 vmem_altmap", before(
    CASE, STAMP + "# exhaustion_changes_nothing: EXPECTATION FAILED at mm/tests/x.c:7\n").replace(CASE, "not " + CASE))
NO_TESTS = "[    0.080000] KTAP version 1\n[    0.080000] 1..0\n"


class Verdicts(FakeKernel):
    """What a log says is what make run says."""

    def fails(self, reason, log, **more):
        code, output, summary = self.make_run(log, **more)
        row = summary["environments"][0]
        self.assertEqual((code, row["verdict"], summary["verdict"]), (1, "FAIL", "FAIL"), output)
        self.assertIn(reason, row["reason"])
        self.assertIn(f"FAIL: um: {row['reason']}", output.splitlines())
        return output, summary

    def test_all_cases_passed(self):
        code, output, summary = self.make_run()
        self.assertEqual(code, 0, output)
        row = summary["environments"][0]
        self.assertEqual((row["verdict"], row["reason"], row["accelerator"]), ("PASS", "", "-"))
        self.assertEqual((row["passed"], row["failed"], row["skipped"]), (27, 0, 0))
        self.assertEqual((summary["base"]["version"], summary["series"]["patches"]),
                         ("7.3.9", ["01-mm/0001-mm-move.patch", "01-mm/0002-mm-build.patch"]))
        self.assertRegex(output, r"\nsuite +um\nvmem_altmap +18/18\nvmem_altmap_model +3/3\nvmem_altmap_range +6/6\naccelerator +-\n")
        self.assertRegex(output, r"\nverdict +PASS\n")
        self.assertEqual(output.splitlines()[-1].partition(",")[0], "PASS: 27 cases in um")
        self.assertEqual((self.temp / "out/um/ktap.log").read_text(encoding="utf-8"), RECORDED)
        self.assertEqual(xml.etree.ElementTree.parse(row["junit"]).getroot().get("tests"), "84")
        results = {(r["suite"], r["case"]): r for r in summary["results"]}
        self.assertEqual(results["vmem_altmap", "exact_fit_succeeds/one_page"]["status"], "PASS")
        self.assertAlmostEqual(results["vmem_altmap_model", "small_windows_match_the_model"]["seconds"], 0.0)

    def test_nothing_changed_nothing_built(self):
        self.make_run()
        (self.temp / "builds").unlink(missing_ok=True)
        _, output, _ = self.make_run()
        self.assertFalse((self.temp / "builds").exists(), output)
        (self.temp / "series/mm").mkdir()
        try:
            (self.temp / "series/mm/vmem_altmap.c").write_text("int edited;\n", encoding="utf-8")
            self.assertEqual(self.make_run()[0], 0)
            self.assertTrue((self.temp / "builds").exists())
            work = next((self.temp / "cache/vmem-altmap/work").glob("kdir-*/mm/vmem_altmap.c"))
            self.assertEqual(work.read_text(encoding="utf-8"), "int edited;\n")
        finally:
            (self.temp / "series/mm/vmem_altmap.c").unlink()
            (self.temp / "series/mm").rmdir()
        self.make_run()
        self.assertEqual(work.read_text(encoding="utf-8"), "int altmap;\n")

    def test_failed_case(self):
        output, summary = self.fails("failed: vmem_altmap.exhaustion_changes_nothing", FAILED)
        self.assertIn("EXPECTATION FAILED at mm/tests/x.c:7", output)
        self.assertEqual([row["case"] for row in summary["results"] if row["status"] == "FAIL"],
                         ["exhaustion_changes_nothing"])

    def test_skipped_case(self):
        log = RECORDED.replace(CASE, CASE + " # SKIP no memory")
        output, _ = self.fails(
            "skipped, but not expected to be: vmem_altmap.exhaustion_changes_nothing (no memory)", log)
        self.assertNotIn("the guest's log", output)
        environments = self.temp / "series/tools/environments.toml"
        text = environments.read_text(encoding="utf-8")
        self.addCleanup(environments.write_text, text, encoding="utf-8")
        environments.write_text(text.replace("[um]\n", '[um]\nskips = ["vmem_altmap.exhaustion_*"]\n', 1), encoding="utf-8")
        code, output, summary = self.make_run(log)
        self.assertEqual((code, summary["environments"][0]["skipped"]), (0, 1), output)
        self.assertIn("(1 skipped)", output)
        self.fails("not skipped, but expected to be by 'vmem_altmap.exhaustion_*'", RECORDED)

    def test_crash(self):
        output, _ = self.fails("kernel complaint: Kernel panic - not syncing: Segfault with no mm",
                               cut(CASE) + "[    0.080000] Kernel panic - not syncing: Segfault with no mm\n")
        self.assertIn("the guest's log from line", output)
        self.assertIn(" 6/18\n", output)

    def test_hang(self):
        output, _ = self.fails("hang: the guest did not end within 1 s", cut(CASE), FAKE_GUEST="hang")
        self.assertIn("exhaustion_changes_nothing", output)
        self.assertEqual(processes(self.temp), [])

    def test_guest_that_stays_when_it_is_told_to_end(self):
        output, _ = self.fails("hang: the guest did not end within 1 s", cut(CASE), FAKE_GUEST="stay")
        self.assertIn("exhaustion_changes_nothing", output)
        self.assertEqual(processes(self.temp), [])

    @unittest.skipIf(len(os.sched_getaffinity(0)) < 2, "one processor")
    def test_guests_run_side_by_side(self):
        """Each waits for the other; log and output are its own."""
        data = self.temp / "series/tools/environments.toml"
        text = data.read_text(encoding="utf-8")
        self.addCleanup(data.write_text, text, encoding="utf-8")
        data.write_text(text.replace("timeout = 1\n", "timeout = 60\n"), encoding="utf-8")
        code, output, summary = self.make_run(ENV="um x86_64 x86_64-la57", FILTER="vmem_altmap.*", FAKE_GUEST="meet")
        self.assertEqual(code, 0, output)
        self.assertEqual([row["name"] for row in summary["environments"]], ["um", "x86_64", "x86_64-la57"])
        for line in output.splitlines():
            self.assertNotRegex(line, "run .*(run|build) ")
        for name in ("x86_64", "x86_64-la57"):
            self.assertEqual((self.temp / f"out/{name}/ktap.log").read_text(encoding="utf-8"), RECORDED)
            self.assertEqual((self.temp / f"out/{name}/kunit.txt").read_text(encoding="utf-8").count("Testing complete."), 1)

    def test_build_error(self):
        self.make_run()
        (next((self.temp / "cache/vmem-altmap/build").glob("*/um")) / "stamp.json").unlink()
        output, summary = self.fails("build failed: ", RECORDED, FAKE_MAKE="error")
        self.assertIn("mm/vmem_altmap.c:7:1: error: unknown type name 'foo'", output)
        self.assertEqual(summary["environments"][0]["log"], None)
        self.assertFalse((self.temp / "out/um/ktap.log").exists())

    def test_disk_full_in_a_build(self):
        self.make_run()
        (next((self.temp / "cache/vmem-altmap/build").glob("*/um")) / "stamp.json").unlink()
        self.stops("disk full: ", FAKE_MAKE="full")
        self.assertFalse((self.temp / "out/um/ktap.log").exists())

    def test_qemu_without_kvm(self):
        code, output, summary = self.make_run(ENV="x86_64", FILTER="vmem_altmap.*")
        self.assertEqual((code, summary["environments"][0]["accelerator"]), (0, "tcg"), output)
        last = (self.temp / "qemu").read_text(encoding="utf-8").splitlines()[-1]
        self.assertIn("-accel tcg", last)
        self.assertNotIn("kvm", last)
        _, output, _ = self.make_run(ENV="x86_64")
        self.assertIn("suite vmemmap_altmap did not run", output)

    def test_filter_that_matches_nothing(self):
        self.stops("FILTER 'no*' matches no case in: um", log=NO_TESTS, FILTER="no*")

    def test_filter_that_matches_in_one_environment(self):
        script(self.temp / "guest", GUEST.replace('cat "$FAKE_LOG"', 'case "$0" in *linux) cat "$FAKE_LOG" ;; '
                                                  f'*) echo "{NO_TESTS}" ;; esac'))
        self.addCleanup(script, self.temp / "guest", GUEST)
        (next((self.temp / "cache/vmem-altmap").glob("build/*/um"), self.temp) / "stamp.json").unlink(missing_ok=True)
        code, _, summary = self.make_run(ENV="um x86_64", FILTER="vmem_altmap.*")
        self.assertEqual((code, [row["verdict"] for row in summary["environments"]]), (0, ["PASS", "-"]))

    def test_cache_that_cannot_be_made(self):
        (self.temp / "file").touch()
        for place in ("/proc/nowhere", self.temp / "file", self.temp / "file/below", "/dev/null/x"):
            with self.subTest(place):
                self.stops(f"cannot use the cache {place}/vmem-altmap (", XDG_CACHE_HOME=place)

    def test_bad_words(self):
        self.stops("unknown environment foo: ENV is one of um, x86_64, x86_64-la57, ", ENV="um,foo")
        self.stops("unknown base 5.4: BASE is one of 7.3, 6.12", KDIR=None, BASE="5.4")
        self.stops("no series for base 6.12 yet", KDIR=None, BASE="6.12")
        self.stops("exclude each other", BASE="7.3")
        self.stops("is not a glob", FILTER="a b")


class Interrupts(FakeKernel):
    """Ctrl-C leaves nothing running and nothing half-written."""

    def interrupt(self, number=signal.SIGINT, **more):
        self.make_run()
        stamp = next((self.temp / "cache/vmem-altmap").glob("build/*/um/stamp.json"))
        if "FAKE_MAKE" in more:
            stamp.unlink()
        with subprocess.Popen([sys.executable, "-B", TOOLS / "run.py"], env=self.environ(**more), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
            self.wait_for(self.temp / "sleeping")
            os.killpg(process.pid, number)
            output = process.communicate(timeout=20)[0]
        self.assertEqual(process.returncode, 128 + number, output)
        self.assertEqual(output.splitlines()[-1], "error: interrupted")
        self.assertEqual(processes(self.temp), [])
        self.assertFalse((self.temp / "out/summary.json").exists())
        self.assertEqual([path for path in self.temp.rglob("*.tmp")], [])
        if "FAKE_MAKE" in more:
            self.assertFalse(stamp.exists())
        self.assertEqual(self.make_run()[0], 0)

    def test_ctrl_c_in_the_build(self):
        self.interrupt(FAKE_MAKE="sleep")

    def test_ctrl_c_in_the_guest(self):
        self.interrupt(FAKE_GUEST="hang")

    def test_sigterm_in_the_guest(self):
        self.interrupt(signal.SIGTERM, FAKE_GUEST="hang")
