# SPDX-License-Identifier: GPL-2.0-only
"""make bench: a recorded log of an unpatched kernel through the whole tool, and what is refused."""

import json
import re
import subprocess
import sys
import unittest

from fake import DATA, TOOLS, FakeKernel, script

import bench        # fake has put tools/ on the path
from common import Stop

UNPATCHED = (DATA / "bench.log").read_text(encoding="utf-8")
# As if the series served base pages from the altmap, and took twice as long for huge pages of it.
SERVED = ("bench: altmap_base populate_ns=800000 populate_spread=0 free_ns=400000 free_spread=20 ram_pages=9 "
          "device_pages=4096 pmd_tables=1 pte_tables=8 pmd=0 pte=4096")
PATCHED = UNPATCHED.replace("bench: altmap_base error=-ENOMEM", SERVED).replace(
    "altmap_huge populate_ns=2631 ", "altmap_huge populate_ns=5262 ")
GUEST = r"""#!/bin/sh
case "$(tail -n 1 "$FAKE_STATE/qemu")" in *-unpatched/*) cat "$FAKE_LOG" ;; *) cat "$FAKE_STATE/patched" ;; esac
"""


def measured(**logs):
    return {kernel: bench.merge({clock: bench.parse(log) for clock in bench.CLOCKS}) for kernel, log in logs.items()}


class Parse(unittest.TestCase):
    def refused(self, line, text):
        with self.assertRaises(Stop) as stop:
            bench.parse(text)
        self.assertIn(line, str(stop.exception))

    def test_recorded(self):
        found = bench.parse(UNPATCHED)
        self.assertEqual([*found], [*bench.MEMORIES])
        self.assertEqual(found["mixed"], {"error": "-ENOMEM"})
        self.assertEqual(found["ram_base"]["pte"], 4096)
        self.assertEqual(bench.parse(UNPATCHED.replace("\n", "\r\n")), found)

    def test_refused(self):
        self.refused("measured nothing for ram_huge, ram_base", "")
        self.refused("measured nothing for mixed", UNPATCHED.replace("bench: mixed", "mixed"))
        self.refused("unexpected: bench: other pmd=1", UNPATCHED + "bench: other pmd=1\n")
        self.refused("unexpected: bench: mixed error=-ENOMEM", UNPATCHED + "bench: mixed error=-ENOMEM\n")
        self.refused("line for ram_huge has no number pte", UNPATCHED.replace(" pte=0", "", 1))
        self.refused("line for ram_huge has no number populate_ns", UNPATCHED.replace("ns=", "ns=x", 1))

    def test_runs_disagree(self):
        one, two = bench.parse(UNPATCHED), bench.parse(PATCHED)
        with self.assertRaisesRegex(Stop, "of altmap_base failed in one run"):
            bench.merge({"instructions": one, "ns": two})
        two = bench.parse(UNPATCHED.replace("pte_tables=8", "pte_tables=7"))
        with self.assertRaisesRegex(Stop, "counted other pages for ram_base"):
            bench.merge({"instructions": one, "ns": two})


class Table(unittest.TestCase):
    def test_per_section_and_per_gib(self):
        found = measured(unpatched=UNPATCHED, patched=PATCHED)
        huge, base = (found["patched"][name] for name in ("altmap_huge", "altmap_base"))
        self.assertEqual((huge["populate_instructions"], base["free_ns"]), (657.8, 50000))
        self.assertEqual((base["ram_bytes_per_gib"], base["table_bytes_per_gib"], base["device_bytes_per_gib"]),
                         (9 << 12, 9 << 12, 16 << 20))

    def test_lines(self):
        lines = [*bench.tables(measured(unpatched=UNPATCHED, patched=PATCHED))]
        self.assertLessEqual(max(map(len, lines)), 120)
        rows = [re.split("  +", line) for line in lines]
        self.assertEqual(rows[1], ["", "unpatched", "patched", "ratio", "unpatched", "patched", "ratio"])
        self.assertEqual(rows[4], ["altmap, huge pages", "329", "658", "2.000", "631", "631", "1.000"])
        self.assertEqual(rows[5], ["altmap, base pages", "-", "100000", "-", "-", "50000", "-"])
        self.assertEqual(rows[6], ["altmap, mixed", "-", "-", "-", "-", "-", "-"])
        self.assertIn(["altmap, huge pages", "4", "4", "4", "4", "16384", "16384"], rows)
        self.assertIn(["RAM, base pages", "0", "0", "4096", "4096"], rows)

    def test_misnamed(self):
        found = measured(unpatched=UNPATCHED, patched=PATCHED.replace("pmd=8 pte=0", "pmd=0 pte=4096", 1))
        self.assertEqual([*bench.misnamed(found)], ["patched, RAM, huge pages: 0 PMD leaves and 4096 PTEs, where there "
                                                    "should be 8 and 0"])

    def test_unsteady(self):
        lines = [*bench.unsteady(measured(unpatched=UNPATCHED, patched=PATCHED))]
        self.assertEqual(lines, ["unsteady: patched, altmap, base pages: in half of the repetitions, to free a section "
                                 "takes 20 instructions more than at least"])


class MakeBench(FakeKernel):
    def setUp(self):
        super().setUp()
        script(self.temp / "guest", GUEST)
        (self.temp / "patched").write_text(PATCHED, encoding="utf-8")

    def make_bench(self, log=UNPATCHED, words=(), **more):
        done = subprocess.run([sys.executable, "-B", TOOLS / "bench.py", *words], env=self.environ(log, **more),
                              text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=60, check=False)
        return done.returncode, done.stdout

    def stops_bench(self, line, **more):
        code, output = self.make_bench(**more)
        errors = [text for text in output.splitlines() if text.startswith("error: ")]
        self.assertEqual((code, len(errors)), (1, 1), output)
        self.assertIn(line, errors[0])
        self.assertNotIn("Traceback", output)
        self.assertFalse((self.temp / "out/bench.json").exists())

    def trees(self):
        work = self.temp / "cache/vmem-altmap/work"
        return next(work.glob("kdir-*-unpatched")), next(
            path for path in work.glob("kdir-????????????") if path.is_dir())

    def test_both_kernels(self):
        code, output = self.make_bench()
        self.assertEqual(code, 0, output)
        self.assertRegex(output, r"(?m)^altmap, huge pages +329 +658 +2\.000 ")
        result = json.loads((self.temp / "out/bench.json").read_text(encoding="utf-8"))
        self.assertEqual(result["ratios"]["altmap_huge"]["populate_instructions"], 2)
        self.assertEqual(result["kernels"]["unpatched"]["altmap_base"], {"error": "-ENOMEM"})
        self.assertEqual(result["series"]["patches"], ["01-mm/0001-mm-move.patch", "01-mm/0002-mm-build.patch"])
        guests = (self.temp / "qemu").read_text(encoding="utf-8").splitlines()
        self.assertEqual(["-icount" in line for line in guests], [True, False] * 2)
        self.assertNotIn("-accel kvm", "".join(guests))
        unpatched, patched = self.trees()
        self.assertEqual([(path / "mm/vmem_altmap.c").exists() for path in (unpatched, patched)], [False, True])
        for tree in (unpatched, patched):
            self.assertTrue((tree / "mm/Makefile").read_text(encoding="utf-8").endswith("\nobj-y += bench/\n"))
            self.assertEqual((tree / "mm/bench/vmemmap_altmap_bench.c").read_bytes(),
                             (TOOLS / "bench/vmemmap_altmap_bench.c").read_bytes())
        # Nothing changed: nothing is built, not even when make run used the tree of the series in between.
        (self.temp / "builds").unlink()
        self.make_run(ENV="um")
        self.assertFalse((patched / "mm/bench/Makefile").exists())
        (self.temp / "builds").unlink(missing_ok=True)
        code, output = self.make_bench()
        self.assertEqual((code, (self.temp / "builds").exists()), (0, False), output)

    def test_no_measurements(self):
        self.stops_bench("the bench measured nothing for mixed", log=UNPATCHED.replace("bench: mixed", "mixed"))

    def test_other_mappings(self):
        (self.temp / "patched").write_text(PATCHED.replace("pmd=8 pte=0", "pmd=0 pte=4096", 1), encoding="utf-8")
        code, output = self.make_bench()
        self.assertEqual((code, output.splitlines()[-1].partition(":")[0]), (1, "error"), output)
        self.assertIn("not the mappings that were to be measured: patched, RAM, huge pages", output)
        self.assertTrue((self.temp / "out/bench.json").exists())

    def test_failed_guest(self):
        self.stops_bench("the bench of the unpatched kernel failed: ", log="")
        (self.temp / "patched").write_text(PATCHED + "[    0.1] BUG: Bad page state\n", encoding="utf-8")
        self.stops_bench("the bench of the patched kernel failed: kernel complaint: BUG: Bad page state")

    def test_build_error(self):
        for stamp in (self.temp / "cache/vmem-altmap").glob("build/*/bench/stamp.json"):
            stamp.unlink()
        self.stops_bench("the unpatched kernel does not build: mm/vmem_altmap.c:7:1: error: ", FAKE_MAKE="error")

    def test_bad_words(self):
        self.stops_bench("bench.py takes no arguments: all", words=["all"])
        self.stops_bench("unknown base 5.4: BASE is one of 7.3, 6.12", KDIR=None, BASE="5.4")
        self.stops_bench("is not a directory", KDIR=self.temp / "nowhere")


if __name__ == "__main__":
    unittest.main()
