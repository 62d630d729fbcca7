# SPDX-License-Identifier: GPL-2.0-only
"""mutants.py: what a guest's log says of a mutant, and whole runs whose fake guest reacts to the kernel argument."""

import json
import signal
import subprocess
import sys
import unittest

from fake import CHANGE, NEW_FILES, RECORDED, TOOLS, FakeKernel, new_file, processes, script

import base             # noqa: E402 pylint: disable=wrong-import-position
import mutants          # noqa: E402 pylint: disable=wrong-import-position
import verdict
from common import write

CASE = "vmem_altmap.size_0_is_refused"
RED = RECORDED.replace(" ok 7 size_0_is_refused", " not ok 7 size_0_is_refused")
REACHED = "".join(f"[    0.090000] mutant {number} reached\n" for number in range(1, 10))
ALTMAP = ("#include <linux/mm.h>", "int one(int a)", "{", "\tif (a < 3)", "\t\treturn 0;", "\tg(altmap);", "\treturn owns(a);", "}")
MM = ("static inline int owns(int a)", "{", "\treturn a;", "}")
DATA = """
default = "um"
sample = "um"
um = ["include/linux/mm.h"]
every = 4
ignored = "none"
outside = "one: b"
also = []
equivalent = []
survived = []
functions = { "include/linux/mm.h" = ["owns"], "mm/vmem_altmap.c" = ["one"] }
by-hand = {}
"""
# In the order of their numbers.
NAMES = ["owns: return a; -> return 0;", "one: a < 3 -> !(a < 3)", "one: a < 3 -> a <= 3", "one: a < 3 -> a < 2",
         "one: return 0; -> removed", "one: return 0; -> return -EINVAL;", "one: g(altmap); -> removed",
         "one: g(altmap); -> g(NULL);", "one: return owns(a); -> return 0;"]
GUEST = r"""#!/bin/sh
for word; do case "$word" in mutant=*) mutant=${word#mutant=} ;; esac; done
echo "mutant=$mutant" >>"$FAKE_STATE/guests"
case "$mutant$FAKE_SURVIVOR" in
"$FAKE_SURVIVOR") cat "$FAKE_STATE/reached" ;;
7) echo "Kernel panic - not syncing: early" ;;
8) head -n 100 "$FAKE_LOG"; touch "$FAKE_STATE/hangs"; sleep 1000 ;;
9) head -n 100 "$FAKE_LOG" ;;
*0) cat "$FAKE_LOG" ;;
*) cat "$FAKE_STATE/red"; sleep 1000 ;;
esac
"""


class Killer(unittest.TestCase):
    def killer(self, text, late=False):
        kernel = base.cached("7.3").path
        return mutants.killer(verdict.parse(text, kernel), late, mutants.leaves(verdict.parse(RECORDED, kernel)))

    def test_what_killed(self):
        self.assertIsNone(self.killer(RECORDED))
        self.assertEqual(self.killer(RED), ("case", CASE))
        self.assertEqual(self.killer(RED[:RED.index("size_0_is_refused") + 18]), ("case", CASE))
        cut = "".join(RECORDED.splitlines(True)[:100])
        self.assertEqual(self.killer(cut, True)[0], "time limit")
        self.assertIn("after vmem_altmap.", self.killer(cut, True)[1])
        kind, what = self.killer(cut + "Kernel panic - not syncing: no\n")
        self.assertEqual((kind, what.split(": ", 1)[1]), ("crash", "Kernel panic - not syncing: no"))
        self.assertEqual(self.killer("Kernel panic - not syncing: no\n"), ("boot", "after boot: Kernel panic - not syncing: no"))
        self.assertEqual(self.killer(RECORDED + "BUG: bad\n"), ("complaint", "BUG: bad"))
        self.assertEqual(self.killer(RECORDED.replace("size_0_is_refused", "size_0_is_refused # SKIP why")), ("skip", CASE))

    def test_command(self):
        printed = "Running tests with:\n$ /a/linux old\nx\nRunning tests with:\n$ /a/linux 'b c' d\n[0.1] x\n"
        self.assertEqual(mutants.guest_command(printed, 3), ["/a/linux", "b c", "d", "mutant=3"])
        printed = "Running tests with:\n$ qemu -append 'a b' -serial stdio\n"
        self.assertEqual(mutants.guest_command(printed, 3), ["qemu", "-append", "a b mutant=3", "-serial", "stdio"])

    def test_rates(self):
        rows = [{"function": "f", "file": "a.c", "status": status} for status in ("killed", "killed", "equivalent", "survived")]
        self.assertEqual(mutants.rates(rows), {"f": {"file": "a.c", "killed": 2, "survived": 1, "equivalent": 1, "rate": 0.667}})


class Runs(FakeKernel):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        write(cls.kdir / "include/linux/mm.h", "\n".join(MM) + "\n")
        files = NEW_FILES.replace(new_file("mm/vmem_altmap.c", "int altmap;"), new_file("mm/vmem_altmap.c", *ALTMAP))
        for number, name, text in ((1, "move", files), (2, "build", CHANGE)):
            write(cls.series / f"patches/7.3/01-mm/000{number}-mm-{name}.patch", text)
        script(cls.temp / "guest", GUEST)
        write(cls.temp / "red", RED)
        write(cls.temp / "reached", RECORDED + REACHED)

    def setUp(self):
        super().setUp()
        (self.temp / "guests").unlink(missing_ok=True)

    def mutants(self, *words, data=DATA, **more):
        """(exit code, output, {name: row} of mutants.json or None)."""
        write(self.series / "tools/mutants.toml", data)
        done = subprocess.run([sys.executable, "-B", TOOLS / "mutants.py", *words], text=True, timeout=60, check=False,
                              env=self.environ(**{"ENV": None, **more}),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        path = self.temp / "out/mutants.json"
        self.assertNotIn("Traceback", done.stdout)
        results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        self.functions = results and results["functions"]
        return done.returncode, done.stdout, results and {row["name"]: row for row in results["mutants"]}

    def test_all_killed(self):
        code, output, rows = self.mutants()
        self.assertEqual((code, list(rows)), (0, NAMES), output)
        self.assertEqual([row["kind"] for row in rows.values()], ["case"] * 6 + ["boot", "time limit", "crash"])
        self.assertIn("9 killed, 0 survived, 0 equivalent\n", output)
        self.assertEqual(self.functions["one"], {"file": "mm/vmem_altmap.c", "killed": 8, "survived": 0, "equivalent": 0, "rate": 1.0})
        work = next((self.temp / "cache/vmem-altmap/work").glob("kdir-*[0-9a-f]"))
        self.assertEqual((work / "mm/vmem_altmap.c").read_text(encoding="utf-8"), "\n".join(ALTMAP) + "\n")
        self.assertFalse((work / "include/linux/vmem_altmap_mutants.h").exists())

    def test_survivor(self):
        code, output, rows = self.mutants(FILTER="one: a < 3*", FAKE_SURVIVOR="0")
        self.assertEqual((code, len(rows), {row["status"] for row in rows.values()}), (1, 3, {"survived"}), output)
        self.assertIn("  survived: mm/vmem_altmap.c:4: one: a < 3 -> a <= 3\n", output)

    def test_not_reached(self):
        write(self.temp / "reached", RECORDED)
        self.addCleanup(write, self.temp / "reached", RECORDED + REACHED)
        code, output, rows = self.mutants(FILTER="owns: *")
        self.assertEqual((code, rows[NAMES[0]]["reached"]), (1, []), output)
        self.assertIn("  survived, not reached: include/linux/mm.h:3: owns: return a; -> return 0;\n", output)
        self.assertEqual(self.mutants(FILTER="owns: *", ENV="um")[2], {})

    def test_listed(self):
        data = DATA.replace("equivalent = []", f'equivalent = [{{ reason = "why", mutants = ["{NAMES[1]}"] }}]').\
            replace("survived = []", f'survived = [{{ reason = "why not", mutants = ["{NAMES[2]}"] }}]')
        code, output, rows = self.mutants(data=data)
        self.assertEqual((code, [(row["status"], row["reason"]) for row in rows.values()][1:4]),
                         (0, [("equivalent", "why"), ("survived", "why not"), ("killed", None)]), output)
        self.assertIn("7 killed, 1 survived, 1 equivalent\n", output)
        code, output, _ = self.mutants(data=data, FILTER="one: a < 3*")
        self.assertEqual(code, 1)
        self.assertIn(f"  killed by {CASE}, but listed in tools/mutants.toml: mm/vmem_altmap.c:4: {NAMES[2]}\n", output)
        code, output, _ = self.mutants(data=data.replace("<= 3", "<= 4"))
        self.assertIn("error: tools/mutants.toml: no such mutant: one: a < 3 -> a <= 4\n", output)

    def test_sample(self):
        code, output, rows = self.mutants("--sample")
        self.assertEqual((code, list(rows)), (0, [NAMES[0], NAMES[4], NAMES[8]]), output)

    def test_interrupted(self):
        """The run ends with one line, and leaves no guest behind."""
        write(self.series / "tools/mutants.toml", DATA)
        (self.temp / "hangs").unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-B", TOOLS / "mutants.py"], text=True, stdin=subprocess.DEVNULL,
                              env=self.environ(ENV=None, FILTER=NAMES[7]), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as tool:
            self.wait_for(self.temp / "hangs", 60)
            tool.send_signal(signal.SIGINT)
            output = tool.communicate(timeout=30)[0]
        self.assertEqual((tool.returncode, output.splitlines()[-1]), (130, "error: interrupted"), output)
        self.assertEqual(processes(self.temp), [])

    def test_by_hand(self):
        hand = '{ break = { file = "mm/one.c", old = "int one", new = "int two", env = "um", red = ["' + CASE + '"] } }'
        data = DATA.replace("by-hand = {}", "by-hand = " + hand)
        code, output, rows = self.mutants(data=data, FILTER="break")
        self.assertEqual((code, rows["break"]["status"]), (1, "survived"), output)
        self.assertIn(f"still passes: {CASE}\n", output)

    def test_bad_input(self):
        for words, line in (({"FILTER": "gone"}, "FILTER 'gone' matches no mutant in ENV=um"),
                            ({"data": DATA.replace('"one"', '"two"')}, "there is no function two in mm/vmem_altmap.c"),
                            ({"data": DATA.replace("also = []", 'also = [{ function = "one", old = "b", new = "a" }]')},
                             "one() has no expression or statement 'b'"),
                            ({"FAKE_MAKE": "error"}, "the kernel with all mutants does not build: mm/vmem_altmap.c:7:1: error")):
            with self.subTest(line):
                code, output, rows = self.mutants(**words)
                self.assertEqual((code, rows), (1, None), output)
                self.assertIn("error: ", output.splitlines()[-1])
                self.assertIn(line, output.splitlines()[-1])


if __name__ == "__main__":
    unittest.main()
