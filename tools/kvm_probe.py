# SPDX-License-Identifier: GPL-2.0-only
"""Whether KVM really runs guests here, and a QEMU that never uses it.

/dev/kvm may open and a guest still not get anywhere (some nested KVMs interpret
each instruction: a boot sector runs, a kernel never finishes unpacking); kunit.py
would then hang until its timeout. So the probe counts to 10^8, which takes a
fraction of a second under real KVM and under TCG. Where it fails, wrappers that
drop `-accel kvm` go first in PATH.
"""

import functools
import os
import platform
import shutil
import tempfile

from common import CACHE, Stop, run, write

SECONDS = 3
WRAPPERS = CACHE / "bin"
# mov ecx, 100000000; 1: dec ecx; jnz 1b
# mov al, 0x10; out 0xf4, al; 2: hlt; jmp 2b -- isa-debug-exit ends QEMU with 0x10 * 2 + 1
BOOT_SECTOR = bytes.fromhex("66b900e1f505 6649 75fc b010 e6f4 f4 ebfd").ljust(510, b"\0") + b"\x55\xaa"
EXIT_STATUS = 33

WRAPPER = """#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Written by tools/kvm_probe.py: KVM does not run guests on this machine.
count=$#
while [ "$count" -gt 0 ]; do
	case "$1 ${{2-}}" in
	"-accel kvm"*) shift 2; count=$((count - 2)) ;;
	*) set -- "$@" "$1"; shift; count=$((count - 1)) ;;
	esac
done
exec {qemu} "$@"
"""


@functools.cache
def accelerator(qemu):
    """"kvm" or "tcg": what guests of the emulator `qemu` run under."""
    # Only x86 guests are probed: elsewhere KVM stays out, which is slow but never wrong.
    if qemu != "qemu-system-x86_64" or platform.machine() != "x86_64" or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    with tempfile.NamedTemporaryFile(suffix=".img") as disk:
        disk.write(BOOT_SECTOR)
        disk.flush()
        try:
            done = run([qemu, "-accel", "kvm", "-nodefaults", "-display", "none", "-no-reboot", "-m", "16",
                        "-device", "isa-debug-exit,iobase=0xf4,iosize=1",
                        "-drive", f"file={disk.name},format=raw,if=ide"], check=False, timeout=SECONDS)
        except Stop:
            return "tcg"
    return "kvm" if done.returncode == EXIT_STATUS else "tcg"


def wrappers(qemu):
    """A directory to put first in PATH, whose `qemu` never uses KVM."""
    real = shutil.which(qemu)
    if not real:
        raise Stop(f"command not found: {qemu}")
    text, path = WRAPPER.format(qemu=real), WRAPPERS / qemu
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write(path, text, 0o755)
    return WRAPPERS
