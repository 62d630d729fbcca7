# SPDX-License-Identifier: GPL-2.0-only
"""make e2e: guests that are a shell script, and end in every way a guest can."""

import contextlib
import io
import json
import os
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

from fake import script

import e2e      # fake has put tools/ on the path
from common import Stop

# Answers like tools/e2e/init.
GUEST = r"""#!/bin/sh
free=1000000000 memmap=0
answer() { echo "[    1.0] e2e: $1 rc=$2 free=$free memmap=$memmap up=$((up += 1)).50 said=$3"; }
boots() { echo "[    0.0] Linux version 7"; up=0; answer ready 0; }
echo boot >>"$FAKE_STATE/boots"
case "$*" in *boot=never*) echo "no such machine" >&2; exit 1 ;; esac
boots
while read -r number command; do
	set -- $command
	case "$1" in
	take) free=$((free - $2)) ;;
	memmap) memmap=$((memmap + $2)) ;;
	fails) echo "[    1.1] nd_pmem namespace0.0: probe with driver nd_pmem failed with error -12"; answer "$number" 1 "no luck"; continue ;;
	warns) printf '[    1.2] ------------[ cut here ]------------\r\n[    1.2] WARNING: mm/vmem_altmap.c:93 at x+1/2\r\n' ;;
	panics) echo "[    1.3] BUG: kernel NULL pointer dereference"; echo "[    1.3] Kernel panic - not syncing: Fatal exception"; sleep 100 ;;
	hangs) sleep 100 ;;
	ends) echo "Segmentation fault"; exit ;;
	reboot) boots; continue ;;
	esac
	answer "$number" 0
done
"""
PAGE = 4096


class Scenarios(unittest.TestCase):
    """The guest's side is a script, all else is real."""

    def setUp(self):
        temp = tempfile.TemporaryDirectory()
        self.addCleanup(temp.cleanup)
        self.temp = Path(temp.name)
        script(self.temp / "qemu", GUEST)
        self.env = {"name": "e2e-fake", "qemu": str(self.temp / "qemu"), "qemu_args": ["-m 1G"], "kernel_args": [], "prepare": ["true"]}
        self.built = types.SimpleNamespace(image="image", initramfs="cpio")
        environ = mock.patch.dict(os.environ, FAKE_STATE=str(self.temp))
        environ.start()
        self.addCleanup(environ.stop)

    def play(self, *scenarios, kernel="series"):
        """The rows of scenarios, given as a list of steps or as a table."""
        tables = [{"name": f"s{number}", **(one if isinstance(one, dict) else {"steps": one})} for number, one in enumerate(scenarios)]
        with contextlib.redirect_stdout(io.StringIO()):
            return e2e.play_all(self.env, kernel, self.built, tables, self.temp / "log")

    def reasons(self, *scenarios):
        return [row["reason"] for row in self.play(*scenarios)]

    def boots(self):
        return len((self.temp / "boots").read_text(encoding="ascii").splitlines())

    def test_scenarios_share_a_guest(self):
        rows = self.play(["true"], [{"do": "take 16777216", "ram": "16M"}, "take -16777216"])
        self.assertEqual([row["reason"] for row in rows], ["", ""])
        self.assertEqual((rows[1]["ram"], rows[1]["seconds"], self.boots()), (16 << 20, 3, 1))

    def test_other_kernel_arguments_are_another_boot(self):
        self.assertEqual(self.reasons(["true"], {"steps": ["true"], "boot": "x=1"}, ["true"]), ["", "", ""])
        self.assertEqual(self.boots(), 3)

    def test_ram_that_is_not_as_expected_fails(self):
        self.assertEqual(self.reasons([{"do": "take 16777216", "ram": 0}]), ["take 16777216: System RAM is 16.00 MiB, not 0.00"])
        self.assertEqual(self.reasons([{"do": "true", "ram": "16M"}]), ["true: System RAM is 0.00 MiB, not 16.00"])

    def test_leak_fails(self):
        self.assertEqual(self.reasons(["take 2097152"]), ["at the end: System RAM is 2.00 MiB, not 0.00"])
        self.assertEqual(self.reasons(["take -2097152"]), ["at the end: System RAM is -2.00 MiB, not 0.00"])
        self.assertEqual(self.reasons([f"memmap {PAGE * 256}"]), ["at the end: nr_memmap_pages is 1.00 MiB, not 0.00"])

    def test_one_page_of_memmap_counts_and_of_ram_does_not(self):
        self.assertEqual(self.reasons([f"take {PAGE}"]), [""])
        self.assertEqual(len(self.reasons([f"memmap {PAGE}"])[0]), len("at the end: nr_memmap_pages is 0.00 MiB, not 0.00"))

    def test_failed_step_is_reported_with_the_kernels_words(self):
        self.assertEqual(self.reasons(["fails"]), ["fails: nd_pmem namespace0.0: probe with driver nd_pmem failed with error -12"])

    def test_expected_failure(self):
        self.assertEqual(self.reasons([{"do": "fails", "fails": "error -12"}]), [""])
        self.assertIn("does not fail with error -22: exit code 1", self.reasons([{"do": "fails", "fails": "error -22"}])[0])
        self.assertIn("does not fail with error -12: exit code 0", self.reasons([{"do": "true", "fails": "error -12"}])[0])

    def test_kernel_complaint_fails(self):
        self.assertEqual(self.reasons(["warns"]), ["warns: kernel complaint: WARNING: mm/vmem_altmap.c:93 at x+1/2"])

    def test_dead_guests_do_not_stop_the_others(self):
        with mock.patch.object(e2e, "TIMEOUT", 20):
            reasons = self.reasons(["ends"], ["panics"], [{"do": "hangs", "timeout": 1}], ["true"])
        self.assertEqual(reasons, ["the guest ended: Segmentation fault", "the guest died: BUG: kernel NULL pointer dereference",
                                   "no answer in 1 s", ""])
        self.assertEqual(self.boots(), 4)

    def test_reboot_compares_with_the_first_boot(self):
        self.assertEqual(self.reasons(["reboot", {"do": "true", "ram": 0}]), [""])
        self.assertEqual(self.reasons(["take 16777216", "reboot"]), ["at the end: System RAM is 16.00 MiB, not 0.00"])

    def test_guest_that_does_not_start_is_one_line(self):
        with self.assertRaisesRegex(Stop, "e2e-fake, series: the guest does not start: the guest ended: no such machine; see "):
            self.play({"steps": ["true"], "boot": "boot=never"})

    def test_fails_on_has_to_fail_in_that_way(self):
        def judged(kernel, *steps):
            return e2e.judge(self.play({"steps": list(steps), "fails_on": {"unpatched": "error -12"}}, kernel=kernel)[0])
        self.assertEqual(judged("unpatched", "fails"), "")
        self.assertEqual(judged("unpatched", "true"), "should fail with error -12: it works")
        self.assertEqual(judged("unpatched", "ends"), "should fail with error -12: the guest ended: Segmentation fault")
        self.assertIn("error -12", judged("series", "fails"))
        self.assertEqual(judged("series", "true"), "")

    def run_main(self, *scenarios, build=None, **environ):
        """(exit code, output, e2e.json) of a whole run with the kernel `series`."""
        tables = [{"name": f"s{number}", "env": ["e2e-fake"], "steps": steps} for number, steps in enumerate(scenarios)]
        data = {"e2e-fake": self.env}, {"unpatched": {}, "series": {}}, tables
        output = io.StringIO()
        with mock.patch.object(e2e, "load", lambda: data), mock.patch.object(e2e, "OUT", self.temp / "out"), \
                mock.patch.object(e2e, "Build", build or (lambda *_: self.built)), mock.patch.object(e2e.prereq, "ensure"), \
                mock.patch.object(e2e, "hold"), mock.patch.object(e2e.sys, "argv", ["e2e.py"]), \
                mock.patch.dict(os.environ, {"ENV": "", "FILTER": "", **environ}), contextlib.redirect_stdout(output):
            code = e2e.main()
        return code, output.getvalue(), json.loads((self.temp / "out/e2e.json").read_text(encoding="utf-8"))

    def test_run_passes(self):
        code, output, written = self.run_main(["true"], ["take 1"])
        self.assertEqual((code, written["faults"], len(written["results"])), (0, [], 4))
        self.assertIn("PASS: 4 scenarios in e2e-fake", output)

    def test_run_fails_if_one_scenario_does(self):
        code, output, written = self.run_main(["true"], ["ends"])
        self.assertEqual((code, len(written["faults"])), (1, 2))
        self.assertIn("FAIL: e2e-fake, series: s1: the guest ended: Segmentation fault; see ", output)

    def test_failed_build_is_one_line_and_the_others_run(self):
        def build(_env, name, *_):
            if name == "unpatched":
                raise Stop("cannot fetch the packages for amd64: cannot reach the mirror")
            return self.built
        code, output, written = self.run_main(["true"], build=build)
        self.assertEqual((code, len(written["results"])), (1, 1))
        self.assertIn("FAIL: cannot fetch the packages for amd64: cannot reach the mirror\n", output)

    def test_wrong_names(self):
        with self.assertRaisesRegex(Stop, "unknown environment x: ENV is one of e2e-fake, all"):
            self.run_main(["true"], ENV="x")
        with self.assertRaisesRegex(Stop, "FILTER 'x' matches no scenario of e2e-fake"):
            self.run_main(["true"], FILTER="x")


class Data(unittest.TestCase):
    """scenarios.toml."""

    def test_sizes(self):
        self.assertEqual([e2e.size(text) for text in (0, "16M", "510M/64", "24K", "1G/256")],
                         [0, 16 << 20, 510 << 14, 24 << 10, 4 << 20])

    def test_each_is_expanded(self):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write('[environment.a]\nx = 1\n[environment.b]\nlike = "a"\n[kernel.k]\n[[scenario]]\nname = "{one}_{two}"\n'
                       'each = { one = ["a", "b"], two = [1, 2] }\nsteps = ["x {one}", { do = "{two} {other}" }]\n')
            file.flush()
            environments, _, scenarios = e2e.load(file.name)
        self.assertEqual(environments["b"]["x"], 1)
        self.assertEqual([one["name"] for one in scenarios], ["a_1", "a_2", "b_1", "b_2"])
        self.assertEqual(scenarios[3]["steps"], ["x b", {"do": "2 {other}"}])

    def test_the_data_is_complete(self):
        environments, kernels, scenarios = e2e.load()
        self.assertTrue([one for one in scenarios if one.get("quick")])
        for one in scenarios:
            self.assertLessEqual({*one}, {"name", "env", "each", "boot", "kernels", "quick", "steps", "fails_on", "why"}, one["name"])
            self.assertLessEqual({*one["env"]}, {*environments}, one["name"])
            self.assertLessEqual({*one.get("kernels", ()), *one.get("fails_on", ())}, {*kernels}, one["name"])
            self.assertEqual("why" in one, "fails_on" in one, f"{one['name']}: a scenario that has to fail says why")
            for step in one["steps"]:
                if isinstance(step, dict):
                    self.assertLessEqual({*step}, {"do", "fails", "ram", "memmap", "slack", "trace", "timeout"}, one["name"])
                    for key in {"ram", "memmap", "slack"} & {*step}:
                        e2e.size(step[key])


if __name__ == "__main__":
    unittest.main()
