# SPDX-License-Identifier: GPL-2.0-only
"""The KVM probe: an answer in bounded time, and no process left."""

import os
import shutil
import subprocess
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

from fake import processes, script

import kvm_probe    # fake has put tools/ on the path



class Probe(unittest.TestCase):
    def setUp(self):
        self.temp = Path(tempfile.mkdtemp(prefix="vmem-altmap-test-"))
        self.addCleanup(shutil.rmtree, self.temp)
        kvm_probe.accelerator.cache_clear()
        for patch in (mock.patch.object(kvm_probe, "WRAPPERS", self.temp / "wrappers"),
                      mock.patch.object(kvm_probe.os, "access", return_value=True),
                      mock.patch.object(kvm_probe.platform, "machine", return_value="x86_64"),
                      mock.patch.dict(os.environ, PATH=f"{self.temp}:{os.environ['PATH']}", FAKE_STATE=str(self.temp))):
            patch.start()
            self.addCleanup(patch.stop)

    def probe(self, body):
        script(self.temp / "qemu-system-x86_64", f"#!/bin/sh\n{body}\n")
        return kvm_probe.accelerator("qemu-system-x86_64")

    def test_guest_runs(self):
        self.assertEqual(self.probe("exit 33"), "kvm")

    def test_qemu_fails(self):
        self.assertEqual(self.probe("exit 1"), "tcg")

    def test_guest_that_ends_without_having_run(self):
        self.assertEqual(self.probe("exit 0"), "tcg")

    def test_guest_hangs(self):
        start = time.monotonic()
        with mock.patch.object(kvm_probe, "SECONDS", 0.5):
            self.assertEqual(self.probe("sleep 1000 & setsid sleep 1000 & wait"), "tcg")
        self.assertLess(time.monotonic() - start, 10)
        self.assertEqual([pid for pid in processes(self.temp) if "sleep" in
                          Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")], [])

    def test_other_guests_are_not_probed(self):
        self.assertEqual(kvm_probe.accelerator("qemu-system-ppc64"), "tcg")

    def test_wrapper_drops_kvm_only(self):
        script(self.temp / "qemu-system-ppc64", '#!/bin/sh\nfor word; do echo "$word"; done\n')
        wrapper = kvm_probe.wrappers("qemu-system-ppc64") / "qemu-system-ppc64"
        words = ["-append", "a  'b' kvm", "-accel", "kvm", "-accel", "hvf", "-accel", "tcg", ""]
        done = subprocess.run([wrapper, *words], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, "\n".join(["-append", "a  'b' kvm", "-accel", "hvf", "-accel", "tcg", ""]) + "\n")
