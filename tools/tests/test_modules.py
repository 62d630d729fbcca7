# SPDX-License-Identifier: GPL-2.0-only
"""make modules: a recorded log through the whole tool, broken in every way that has to fail."""

import os
import re
import subprocess
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

from fake import DATA, MAKE, TOOLS, FakeKernel, processes, script

import base         # fake has put tools/ on the path
import modules
import prereq

# tools/tests/data/modules.log is a real guest's, with kunit.filter_glob=*.*nothing* and most of the boot cut out.
RECORDED = (DATA / "modules.log").read_text(encoding="utf-8")
SUITES = ["vmem_altmap", "vmemmap_altmap", "vmem_altmap_x86", "memory_hotplug_altmap"]
ENVIRONMENT = f"""
[recorded]
arch = "x86_64"
build = "x86_64"
kunitconfig = ["mm/tests", "arch/x86/mm/tests"]
configs = ["small", "debug", "x86_64"]
qemu = "qemu-system-x86_64"
timeout = 1
kernel_args = {{ printk.time = 1, vmem_altmap_x86_kunit.levels = 4, memory_hotplug.memmap_on_memory = 1 }}
suites = {SUITES}
needs = ["gelf.h"]
"""
MODULES = ("mm/tests/vmem_altmap_kunit", "mm/tests/vmemmap_altmap_fixture", "mm/tests/vmemmap_altmap_kunit",
           "mm/tests/memory_hotplug_altmap_kunit", "arch/x86/mm/tests/vmem_altmap_x86_kunit")
# The kernel's usr/gen_init_cpio is played by cat: the archive is its list.
BUILD = MAKE + r"""mkdir -p "$out/mm/tests" "$out/arch/x86/mm/tests" "$out/lib" "$out/usr" "$out/include/config"
>"$out/modules.order"; echo 7.3.9 >"$out/include/config/kernel.release"
printf '#!/bin/sh\ncat "$1"\n' >"$out/usr/gen_init_cpio"; chmod +x "$out/usr/gen_init_cpio"
""" + "".join(f'echo {path}.o >>"$out/modules.order"; touch "$out/{path}.ko"\n' for path in (*MODULES, "lib/other"))
STAMP = "[   99.000000] "
WARNING = f"{STAMP}------------[ cut here ]------------\n{STAMP}WARNING: mm/vmem_altmap.c:93 at vmem_altmap_free+0x12/0x30\n"


def halves(log=RECORDED):
    """The log until the second load, and from there."""
    at = log.rindex("\n", 0, log.index("modules: load 2 begins")) + 1
    return log[:at], log[at:]


def behind(text, insert, log):
    """`log` with whole lines put behind the first line that holds `text`."""
    at = log.index("\n", log.index(text)) + 1
    return log[:at] + insert + log[at:]


class MakeModules(FakeKernel):
    """The exit code, the lines and the files of the tool."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with open(cls.series / "tools/environments.toml", "a", encoding="utf-8") as file:
            file.write(ENVIRONMENT)
        script(cls.bin / "make", BUILD)
        script(cls.bin / "busybox", "#!/bin/sh\n")

    def make_modules(self, log=RECORDED, words=(), **more):
        done = subprocess.run([sys.executable, "-B", TOOLS / "modules.py", *words],
                              env=self.environ(log, **{"ENV": "recorded", **more}),
                              text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=60, check=False)
        self.assertNotIn("Traceback", done.stdout)
        return done.returncode, done.stdout

    def stops_modules(self, line, **more):
        code, output = self.make_modules(**more)
        errors = [text for text in output.splitlines() if text.startswith("error: ")]
        self.assertEqual((code, len(errors)), (1, 1), output)
        self.assertIn(line, errors[0])
        return output

    def test_both_loads(self):
        code, output = self.make_modules()
        self.assertEqual(code, 0, output)
        for row in ("vmem_altmap +2/2 +2/2", "modules loaded +5 +5", "after unloading +0 +0"):
            self.assertRegex(output, f"(?m)^{row}$")
        self.assertRegex(output.splitlines()[-1], "^PASS: 5 modules, loaded and unloaded twice, in recorded, Linux 7.3.9, ")
        self.assertEqual({path.name for path in (self.temp / "out/modules").iterdir()},
                         {"console.log", "ktap-1.log", "ktap-2.log", "results.json"})
        # A second time nothing is built, unless a module is gone.
        (self.temp / "builds").unlink()
        self.assertEqual(self.make_modules()[0], 0)
        self.assertFalse((self.temp / "builds").exists())
        next((self.temp / "cache/vmem-altmap").glob("build/*/x86_64-modules/mm/tests/vmem_altmap_kunit.ko")).unlink()
        self.assertEqual(self.make_modules()[0], 0)
        self.assertTrue((self.temp / "builds").exists())

    def test_guest(self):
        self.make_modules()
        command = (self.temp / "qemu").read_text(encoding="utf-8").splitlines()[-1]
        self.assertIn(" -no-reboot -m 1024 -accel tcg -serial stdio ", command)
        self.assertIn(" -append printk.time=1 vmem_altmap_x86_kunit.levels=4 memory_hotplug.memmap_on_memory=1 panic=-1 printk.devkmsg=on console=ttyS0 -bios qboot.rom",
                      command)
        self.assertNotIn("kvm", command)
        listing = Path(re.search(r"-initrd (\S+)", command)[1]).read_text(encoding="utf-8")
        self.assertEqual(re.findall(r"^file /lib/modules/7\.3\.9/(\S+)\.ko /\S+/\1\.ko 644 0 0$", listing, re.M),
                         [Path(path).name for path in MODULES])
        for line in ("file /init init 755 0 0", "slink /bin/sh busybox 777 0 0", "nod /dev/kmsg 600 0 0 c 1 11"):
            self.assertIn(line, listing.splitlines())

    def ends(self, reasons, log, **more):
        """Check that the last line has exactly `reasons`, a regular expression."""
        code, output = self.make_modules(log, **more)
        self.assertEqual(code, 1, output)
        self.assertRegex(output.splitlines()[-1], rf"^FAIL: recorded as modules: {reasons}; see \S+/console\.log$")
        return output

    def test_second_load_fails(self):
        first, second = halves()
        second = second.replace("     ok 1 exhaustion_changes_nothing",
                                f"         # exhaustion_changes_nothing: EXPECTATION FAILED at mm/tests/x.c:7\n{STAMP}"
                                "    not ok 1 exhaustion_changes_nothing").replace("] ok 1 vmem_altmap\n", "] not ok 1 vmem_altmap\n")
        output = self.ends(r"load 2: failed: vmem_altmap\.exhaustion_changes_nothing", first + second)
        self.assertIn("EXPECTATION FAILED at mm/tests/x.c:7", output)
        self.assertRegex(output, r"(?m)^vmem_altmap +2/2 +1/2$")

    def test_module_stays(self):
        error = f"{STAMP}modules: vmem_altmap_kunit cannot be unloaded: rmmod: can't unload\n"
        log = RECORDED.replace("unload 1 ends with: none", "unload 1 ends with: vmem_altmap_kunit")
        output = self.ends("unload 1: vmem_altmap_kunit cannot be unloaded: rmmod: can't unload", behind("unload 1 begins", error, log))
        self.assertRegex(output, r"(?m)^after unloading +1 +0$")

    def test_hang(self):
        first, second = halves()
        log = first + second[:second.index("\n", second.index("ok 1 exhaustion_changes_nothing")) + 1]
        self.ends("the guest did not end within 2 s, in load 2: ok 1 exhaustion_changes_nothing", log, FAKE_GUEST="hang")
        self.assertEqual(processes(self.temp), [])

    def test_build_error(self):
        for stamp in (self.temp / "cache/vmem-altmap").glob("build/*/x86_64-modules/stamp.json"):
            stamp.unlink()
        self.stops_modules("the modules do not build: mm/vmem_altmap.c:7:1: error: ", FAKE_MAKE="error")

    def test_bad_words(self):
        self.stops_modules("modules.py takes no arguments: all", words=["all"])
        for name in ("um", "arm64", "x86_64 x86_64-la57"):
            self.stops_modules("ENV is one environment whose programs this machine can run", ENV=name)


class Judge(unittest.TestCase):
    """What is wrong with a log."""

    def fails(self, reasons, log, hang=""):
        """Check that the verdict is exactly `reasons`, a regular expression."""
        parts = modules.split(log)
        loads = modules.judge_loads(parts, base.cached("7.3").path, {"suites": SUITES, "skips": []})
        found = modules.judge(parts, loads, hang, [Path(path).name for path in MODULES])
        self.assertRegex("; ".join(found), f"^{reasons}$")

    def test_recorded(self):
        self.fails("", RECORDED)

    def test_second_load_runs_fewer_cases(self):
        first, second = halves()
        less = re.sub(r".*ok 2 no_altmap_owns_nothing\n", "", second).replace("    1..2\n", "    1..1\n", 1)
        self.assertNotEqual(less, second)
        self.fails(r"the loads differ in vmem_altmap/no_altmap_owns_nothing", first + less)

    def test_suite_does_not_run(self):
        first, second = halves()
        start = second.rindex("\n", 0, second.index("KTAP version 1")) + 1
        end = second.index("\n", second.index("] ok 1 vmem_altmap\n")) + 1
        self.fails(r"load 2: suite vmem_altmap did not run", first + second[:start] + second[end:])
        only = re.sub(r".*(KTAP version|1\.\.|ok \d|#).*\n", "", second)
        self.fails(r"load 2: <missing>: Could not find any KTAP output.*", first + only)

    def test_skipped_case(self):
        self.fails(r"load 1: skipped, but not expected to be: vmem_altmap\.no_altmap_owns_nothing \(no reason given\)",
                   RECORDED.replace("ok 2 no_altmap_owns_nothing\n", "ok 2 no_altmap_owns_nothing # SKIP\n", 1))

    def test_module_cannot_be_loaded(self):
        log = RECORDED.replace("load 1 ends with: memory_hotplug_altmap_kunit ", "load 1 ends with: ", 1)
        self.assertNotEqual(log, RECORDED)
        self.fails("load 1: not loaded: memory_hotplug_altmap_kunit", log)
        self.fails("load 1: memory_hotplug_altmap_kunit cannot be loaded: insmod: unknown symbol",
                   behind("load 1 begins", f"{STAMP}modules: memory_hotplug_altmap_kunit cannot be loaded: "
                          "insmod: unknown symbol\n", log))

    def test_truncated(self):
        first, second = halves()
        log = first + second[:second.index("ok 1 exhaustion_changes_nothing")]
        self.fails("the guest ended too early, in load 2: 1..2", log)
        self.fails(r"the guest ended too early, in unload 1(: .*)?", first[:first.index("unload 1 ends")])
        self.fails("the guest ended too early, in boot: qemu-system-x86_64: no such option", "qemu-system-x86_64: no such option\n")

    def test_panic(self):
        first, second = halves()
        log = first + behind("ok 1 exhaustion_changes_nothing", f"{STAMP}Kernel panic - not syncing: hard\n", second)
        log = log[:log.index("hard\n") + 5]
        self.fails("the guest ended too early, in load 2: Kernel panic - not syncing: hard", log)

    def test_warning(self):
        complaint = r"kernel complaint: WARNING: mm/vmem_altmap\.c:93 at vmem_altmap_free\+0x12/0x30"
        self.fails(f"load 1: {complaint}", behind("ok 1 exhaustion_changes_nothing", WARNING, RECORDED))
        self.fails(f"unload 2: {complaint}", behind("unload 2 begins", WARNING, RECORDED))
        self.fails(f"boot: {complaint}", WARNING + RECORDED)
        self.fails(f"end: {complaint}", RECORDED + WARNING)

    def test_other_order(self):
        self.fails("the guest did: boot, load 1, unload 1, end(; .*)?", halves()[0] + f"{STAMP}modules: end\n")

    def test_module_stays(self):
        self.fails("unload 1: stays loaded: vmem_altmap_kunit",
                   RECORDED.replace("unload 1 ends with: none", "unload 1 ends with: vmem_altmap_kunit"))

    def test_hang(self):
        self.fails("the guest did not end within 2 s, in end: reboot: machine restart", RECORDED, "the guest did not end within 2 s")


class Parts(unittest.TestCase):
    def test_suites_become_modules(self):
        with tempfile.TemporaryDirectory() as temp:
            Path(temp, ".kunitconfig").write_text("CONFIG_KUNIT=y\nCONFIG_A_KUNIT_TEST=y\nCONFIG_B_KUNIT_BUILD=y\n", encoding="utf-8")
            env = {"build": "x", "kunitconfig": ["."], "kconfig_add": ["CONFIG_C=y"]}
            found = modules.environment(env, types.SimpleNamespace(path=Path(temp)))
        self.assertEqual(found["build"], "x-modules")
        self.assertEqual(found["kconfig_add"], ["CONFIG_C=y", *modules.KCONFIG, "CONFIG_A_KUNIT_TEST=m"])

    def test_static_busybox(self):
        with tempfile.TemporaryDirectory() as temp, mock.patch.dict(os.environ, PATH=f"{temp}:{os.environ['PATH']}"):
            Path(temp, "busybox").symlink_to(os.path.realpath("/bin/sh"))
            self.assertFalse(prereq.present("busybox"))
            Path(temp, "busybox").unlink()
            script(Path(temp, "busybox"), "#!/bin/sh\n")
            self.assertTrue(prereq.present("busybox"))
        self.assertEqual(prereq.package("busybox"), "busybox-static")


if __name__ == "__main__":
    unittest.main()
