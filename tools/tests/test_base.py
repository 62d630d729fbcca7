# SPDX-License-Identifier: GPL-2.0-only
"""Base kernels: downloads and unpacks that are interrupted, concurrent, impossible."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from fake import TOOLS, processes, script

# Serves one package from FAKE_STATE; apt itself is Debian's business.
APT_GET = r"""#!/bin/sh
case "$*" in
*" update") [ "$FAKE_APT" = full ] && { echo "E: No space left on device"; exit 100; }; exit 0 ;;
*" download "*) echo x >>"$FAKE_STATE/downloads"; cp "$FAKE_STATE/base.deb" linux-source.deb ;;
esac
"""
APT_CACHE = r"""#!/bin/sh
printf 'Package: linux-source-7.3\nVersion: 7.3~rc4-1\nSize: 9\n\n'
[ "$FAKE_APT" = rc ] || printf 'Package: linux-source-7.3\nVersion: 7.3.1-1\nSize: 9\n\n'
"""
GET = "import base, common; common.run_main(lambda: print(base.get_base('7.3').path))"
TAR = r"""#!/bin/sh
[ "$FAKE_TAR" = sleep ] && { touch "$FAKE_STATE/sleeping"; sleep 1000; }
[ "$FAKE_TAR" = full ] && { echo "tar: x: Cannot write: No space left on device"; exit 2; }
[ "$FAKE_TAR" = slow ] && sleep 1
exec /bin/tar "$@"
"""


@unittest.skipUnless(Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists() and shutil.which("dpkg-deb"),
                     "not a Debian machine")
class Download(unittest.TestCase):
    def setUp(self):
        self.temp = Path(tempfile.mkdtemp(prefix="vmem-altmap-test-"))
        self.addCleanup(shutil.rmtree, self.temp, ignore_errors=True)
        self.bin = self.temp / "bin"
        self.bin.mkdir()
        script(self.bin / "apt-get", APT_GET)
        script(self.bin / "apt-cache", APT_CACHE)
        script(self.bin / "tar", TAR)
        tree = self.temp / "deb/usr/src/linux-source-7.3"
        tree.mkdir(parents=True)
        (tree / "Makefile").write_text("VERSION = 7\n", encoding="utf-8")
        subprocess.run(["tar", "-cJf", tree.with_name(tree.name + ".tar.xz"), "-C", tree.parent, tree.name], check=True)
        shutil.rmtree(tree)
        (self.temp / "deb/DEBIAN").mkdir()
        (self.temp / "deb/DEBIAN/control").write_text(
            "Package: linux-source-7.3\nVersion: 7.3.1-1\nArchitecture: all\nMaintainer: t <t@example.org>\n"
            "Description: t\n", encoding="utf-8")
        subprocess.run(["dpkg-deb", "--build", self.temp / "deb", self.temp / "base.deb"], check=True,
                       capture_output=True)
        self.base = self.temp / "cache/vmem-altmap/base"

    def start(self, **more):
        env = {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}", "FAKE_STATE": str(self.temp),
               "XDG_CACHE_HOME": str(self.temp / "cache"), **more}
        return subprocess.Popen([sys.executable, "-B", "-c", GET], env=env | {"PYTHONPATH": str(TOOLS)}, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def get(self, **more):
        with self.start(**more) as process:
            output = process.communicate(timeout=30)[0]
        return process.returncode, output

    def downloads(self):
        path = self.temp / "downloads"
        return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0

    def complete(self):
        return sorted(path.name for path in self.base.iterdir())

    def test_download_and_cache(self):
        code, output = self.get()
        self.assertEqual((code, self.complete()), (0, ["7.3.1-1", "7.3.1-1.json"]), output)
        self.assertTrue((self.base / "7.3.1-1/Makefile").exists())
        code, output = self.get(MIRROR="http://127.0.0.1:9/debian")
        self.assertEqual((code, self.downloads()), (0, 1), output)
        self.assertIn("cached", output)

    def test_interrupted_download(self):
        stale = self.base / ".7.3.tmp"
        stale.mkdir(parents=True)
        (stale / "linux-source.deb.partial").write_text("half", encoding="utf-8")
        code, output = self.get()
        self.assertEqual((code, self.complete()), (0, ["7.3.1-1", "7.3.1-1.json"]), output)
        self.assertIn("was interrupted, starting again", output)

    def test_killed_unpack(self):
        with self.start(FAKE_TAR="sleep") as process:
            while not (self.temp / "sleeping").exists():
                self.assertIsNone(process.poll())
            process.kill()
        for pid in processes(self.temp):    # nobody can clean up after kill -9
            os.kill(pid, signal.SIGKILL)
        self.assertEqual(self.complete(), [".7.3.tmp"])
        code, output = self.get()
        self.assertEqual((code, self.complete()), (0, ["7.3.1-1", "7.3.1-1.json"]), output)

    def test_ctrl_c_in_the_unpack(self):
        with self.start(FAKE_TAR="sleep") as process:
            while not (self.temp / "sleeping").exists():
                self.assertIsNone(process.poll())
            process.send_signal(signal.SIGINT)
            output = process.communicate(timeout=20)[0]
        self.assertEqual(process.returncode, 130, output)
        self.assertEqual((processes(self.temp), self.complete()), ([], []))

    def test_two_at_once(self):
        first, second = self.start(FAKE_TAR="slow"), self.start(FAKE_TAR="slow")
        outputs = [process.communicate(timeout=30)[0] for process in (first, second)]
        self.assertEqual((first.returncode, second.returncode, self.downloads()), (0, 0, 1), outputs)
        self.assertIn("waiting for base-7.3, in use by pid", "".join(outputs))

    def fails(self, line, **more):
        code, output = self.get(**more)
        self.assertEqual(code, 1, output)
        self.assertEqual([text for text in output.splitlines() if text.startswith("error: ") and line in text],
                         [output.splitlines()[-1]])
        self.assertEqual(self.complete() if self.base.exists() else [], [])

    def test_disk_full(self):
        self.fails("disk full: ", FAKE_APT="full")
        self.fails("disk full: ", FAKE_TAR="full")

    @unittest.skipIf(os.geteuid(), "mounts a small file system")
    def test_small_disk(self):
        cache = self.temp / "cache"
        cache.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", cache], capture_output=True,
                          check=False).returncode:
            self.skipTest("cannot mount a tmpfs")
        try:
            self.fails("disk full: base 7.3 needs 2200 MiB")
        finally:
            subprocess.run(["umount", cache], check=True)

    def test_release_candidates_do_not_count(self):
        self.fails("has no linux-source-7.3 any more", FAKE_APT="rc")

    def test_no_network(self):
        (self.bin / "apt-get").unlink()
        self.fails("cannot reach http://127.0.0.1:9/debian: check the network, or pass KDIR=",
                   MIRROR="http://127.0.0.1:9/debian")

    def test_not_debian(self):
        for name in ("python3", "git", "tar"):
            (self.bin / name).unlink(missing_ok=True)
            (self.bin / name).symlink_to(shutil.which(name))
        for name in ("apt-get", "apt-cache"):
            (self.bin / name).unlink()
        self.fails("no apt-get here, so no Debian kernel source: pass KDIR=", PATH=str(self.bin))


class Prerequisites(unittest.TestCase):
    """tools/run.py without a compiler and without the right to install one."""

    def test_missing_compiler(self):
        with tempfile.TemporaryDirectory() as temp:
            temp = Path(temp)
            temp.chmod(0o777)
            links = temp / "bin"
            links.mkdir()
            for name in ("git", "make", "ld", "flex", "bison", "bc", "xz", "sh"):
                script(links / name, "#!/bin/sh\n")
            env = {**os.environ, "PATH": str(links), "XDG_CACHE_HOME": str(temp / "cache"), "ENV": "um", "KDIR": "",
                   "BASE": "", "FILTER": "", "VMEM_ALTMAP_OUT": str(temp / "out")}
            user = [] if os.geteuid() else ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            if user and not shutil.which("setpriv"):
                self.skipTest("no setpriv")
            if user:
                user[0] = shutil.which("setpriv")
                # A checkout or Python below /root is closed to everyone else.
                probe = subprocess.run([*user, sys.executable, "-c", f"open({str(TOOLS / 'run.py')!r})"],
                                       capture_output=True, check=False)
                if probe.returncode:
                    self.skipTest("other users cannot read this checkout or run this Python")
            done = subprocess.run([*user, sys.executable, "-B", TOOLS / "run.py"], env=env, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False)
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertEqual(done.stdout.splitlines()[-1], "error: missing gcc; run: sudo apt-get install "
                             "--no-install-recommends gcc ccache")
