# SPDX-License-Identifier: GPL-2.0-only
"""A small kernel tree, a fake make and fake guests, for running the real tools in a second.

The tree holds the real kunit.py; the fake make "builds" a script that prints
the log named by FAKE_LOG, so that configuration, build, execution, parsing
and judging are the real code.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOOLS))

from base import get_base       # noqa: E402 pylint: disable=wrong-import-position

DATA = TOOLS / "tests/data"
RECORDED = (DATA / "um.log").read_text(encoding="utf-8")

MAKE = r"""#!/bin/sh
for word; do case "$word" in O=*) out=${word#O=} ;; all) all=1 ;; esac; done
[ "$all" ] || exit 0
echo build >>"$FAKE_STATE/builds"
case "$FAKE_MAKE" in
error) echo "mm/vmem_altmap.c:7:1: error: unknown type name 'foo'" >&2; exit 2 ;;
full) echo "fatal error: error writing to /tmp/x.s: No space left on device" >&2; exit 2 ;;
sleep) touch "$FAKE_STATE/sleeping"; sleep 1000 & wait ;;
esac
cp "$FAKE_STATE/guest" "$out/linux"
mkdir -p "$out/arch/x86/boot"
touch "$out/vmlinux" "$out/arch/x86/boot/bzImage"
"""

# UML ends its session as the real one may: what outlives it must still be found.
GUEST = r"""#!/bin/sh
cat "$FAKE_LOG"
case "$FAKE_GUEST" in
hang) touch "$FAKE_STATE/sleeping"; setsid sleep 1000 & wait ;;
stay) trap "" TERM; setsid sh -c 'trap "" TERM; sleep 1000 & wait; sleep 1000' & wait; sleep 1000 ;;
meet) touch "$FAKE_STATE/guest-$$"; case "$0" in *linux) exit ;; esac
	while [ "$(find "$FAKE_STATE" -maxdepth 1 -name 'guest-*' | wc -l)" -lt 3 ]; do sleep 0.05; done ;;
esac
"""

QEMU = r"""#!/bin/sh
case "$1" in --version) echo "QEMU emulator version 0.0 (fake)"; exit ;; esac
echo "$@" >>"$FAKE_STATE/qemu"
exec "$FAKE_STATE/guest"
"""


def script(path, text):
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def processes(tag):
    """Pids whose environment holds FAKE_STATE=tag, but for this process."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                if f"FAKE_STATE={tag}".encode() in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                    found.append(int(entry))
    return found


class FakeKernel(unittest.TestCase):
    """Base class: one tree, series and cache for all tests of a class."""

    @classmethod
    def setUpClass(cls):
        # The cache must be on a path that takes kernel builds; /tmp is.
        cls.temp = Path(tempfile.mkdtemp(prefix="vmem-altmap-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.temp, ignore_errors=True)
        with contextlib.redirect_stdout(io.StringIO()):
            base = get_base("7.3")
        cls.kdir = cls.temp / "kernel"
        kernel_tree(cls.kdir, base.path)
        cls.series = cls.temp / "series"
        make_series(cls.series)
        cls.bin = cls.temp / "bin"
        cls.bin.mkdir()
        script(cls.bin / "make", MAKE)
        script(cls.bin / "qemu-system-x86_64", QEMU)
        for name in ("flex", "bison", "bc", "ld", "xz", "ccache"):
            script(cls.bin / name, "#!/bin/sh\n")
        script(cls.bin / "gcc", "#!/bin/sh\necho gcc 12 fake\n")
        script(cls.temp / "guest", GUEST)

    def setUp(self):
        shutil.rmtree(self.temp / "out", ignore_errors=True)
        for name in ("sleeping", "builds", "qemu"):
            (self.temp / name).unlink(missing_ok=True)

    def environ(self, log=RECORDED, **more):
        (self.temp / "log").write_text(log, encoding="utf-8")
        env = {key: value for key, value in os.environ.items()
               if key not in ("ENV", "BASE", "KDIR", "FILTER", "MIRROR")}
        env.update(PATH=f"{self.bin}:{env['PATH']}", XDG_CACHE_HOME=str(self.temp / "cache"),
                   VMEM_ALTMAP_SERIES=str(self.series), VMEM_ALTMAP_OUT=str(self.temp / "out"),
                   KDIR=str(self.kdir), ENV="um", FAKE_STATE=str(self.temp), FAKE_LOG=str(self.temp / "log"))
        env.update(more)
        return {key: str(value) for key, value in env.items() if value is not None}

    def make_run(self, log=RECORDED, **more):
        """(exit code, output, summary or None) of tools/run.py."""
        done = subprocess.run([sys.executable, "-B", TOOLS / "run.py"], env=self.environ(log, **more), text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=60, check=False)
        path = self.temp / "out/summary.json"
        summary = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        return done.returncode, done.stdout, summary

    def stops(self, line, **more):
        """Check that the run ends with exactly one error line that holds `line`."""
        code, output, _ = self.make_run(**more)
        errors = [text for text in output.splitlines() if text.startswith("error: ")]
        self.assertEqual((code, len(errors)), (1, 1), output)
        self.assertIn(line, errors[0])
        self.assertNotIn("Traceback", output)
        return output

    def wait_for(self, path, seconds=20):
        end = time.monotonic() + seconds
        while not path.exists():
            self.assertLess(time.monotonic(), end, f"{path} never came")
            time.sleep(0.02)


def kernel_tree(root, base):
    """What the tools and kunit.py need of a kernel tree."""
    (root / "mm/tests").mkdir(parents=True)
    (root / "arch/x86/mm").mkdir(parents=True)
    (root / "Makefile").write_text("VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 9\nEXTRAVERSION =\n", encoding="utf-8")
    (root / "Kconfig").write_text("# nothing\n", encoding="utf-8")
    (root / "mm/Makefile").write_text("obj-y := one.o\nobj-y += two.o\n", encoding="utf-8")
    (root / "mm/one.c").write_text("int one;\n", encoding="utf-8")
    shutil.copytree(base / "tools/testing/kunit", root / "tools/testing/kunit",
                    ignore=shutil.ignore_patterns("__pycache__", "test_data"))


def make_series(root):
    """A series of two patches, and the real environments with a short time limit."""
    patches = root / "patches/7.3/01-mm"
    patches.mkdir(parents=True)
    (patches / "0001-mm-move.patch").write_text(NEW_FILES, encoding="utf-8")
    (patches / "0002-mm-build.patch").write_text(CHANGE, encoding="utf-8")
    (root / "tools").mkdir()
    text = (TOOLS / "environments.toml").read_text(encoding="utf-8")
    text = text.replace("timeout = 60\n", "timeout = 1\n").replace("timeout = 120\n", "timeout = 1\n")
    (root / "tools/environments.toml").write_text(text, encoding="utf-8")
    shutil.copytree(TOOLS / "configs", root / "tools/configs")


def new_file(name, *lines):
    return (f"diff --git a/{name} b/{name}\nnew file mode 100644\n--- /dev/null\n+++ b/{name}\n"
            f"@@ -0,0 +1,{len(lines)} @@\n" + "".join(f"+{line}\n" for line in lines))


NEW_FILES = "Subject: [PATCH 1/2] mm: move\n\n---\n" + new_file("mm/vmem_altmap.c", "int altmap;") + \
    new_file("mm/tests/.kunitconfig", "CONFIG_KUNIT=y") + new_file("arch/x86/mm/tests/.kunitconfig", "CONFIG_KUNIT=y")
CHANGE = """Subject: [PATCH 2/2] mm: build

---
diff --git a/mm/Makefile b/mm/Makefile
--- a/mm/Makefile
+++ b/mm/Makefile
@@ -1,2 +1,3 @@
 obj-y := one.o
 obj-y += two.o
+obj-y += vmem_altmap.o
"""
