# SPDX-License-Identifier: GPL-2.0-only
"""Commands, headers and firmware that the chosen environments need: found, installed, or named.

As root on Debian what is missing is installed; anyone else gets one line with
the command to run.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

from common import Stop, run, say, step

# Everything that a kernel build, kunit.py and our tools use; Debian's package for each.
PACKAGES = {
    "git": "git", "make": "make", "gcc": "gcc", "stdio.h": "libc6-dev", "ld": "binutils",
    "flex": "flex", "bison": "bison", "bc": "bc", "xz": "xz-utils",
    "gelf.h": "libelf-dev", "ccache": "ccache",
    "qemu-system-x86_64": "qemu-system-x86", "qemu-system-ppc64": "qemu-system-ppc",
    "qemu-system-aarch64": "qemu-system-arm", "qemu-system-riscv64": "qemu-system-misc",
    "qemu-system-s390x": "qemu-system-misc", "opensbi-riscv64-generic-fw_dynamic.bin": "qemu-system-data",
    "Term/ANSIColor.pm": "perl", "shellcheck": "shellcheck", "busybox": "busybox-static",
}
ALWAYS = ("git", "make", "gcc", "stdio.h", "ld", "flex", "bison", "bc", "xz")
WANTED = ("ccache",)        # saves time only: a user without root goes on without
CHECKS = ("Term/ANSIColor.pm", "shellcheck")    # of make check: checkpatch.pl is more than perl-base can run


def package(need):
    """The Debian package of a command, header or firmware."""
    if cross := re.fullmatch(r"(.+)-gcc", need):
        return f"gcc-{cross.group(1).replace('_', '-')}"
    return PACKAGES[need]


def present(need):
    """Whether the command, header, Perl module or firmware of QEMU `need` is installed."""
    if need.endswith(".pm"):
        return shutil.which("perl") is not None and succeeds("perl", "-e", f"require '{need}'")
    if need.endswith(".bin"):
        return Path("/usr/share/qemu", need).exists()
    if need == "busybox":       # for an initramfs without libraries
        return shutil.which(need) is not None and succeeds("sh", "-c", f"! ldd {shutil.which(need)}")
    if not need.endswith(".h"):
        return shutil.which(need) is not None
    places = [Path("/usr/include"), *Path("/usr/include").glob("*-linux-gnu*")]
    return any((place / need).exists() for place in places)


def succeeds(*command):
    return not subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode


def needs(environments):
    """All that `environments` need, without repetition."""
    found = list(ALWAYS)
    for env in environments:
        found += [f"{env['cross_compile']}gcc"] if env["cross_compile"] else []
        found += [env["qemu"]] if env["qemu"] else []
        found += env["needs"]
    return list(dict.fromkeys(found))


def ensure(environments, more=()):
    """Install what is missing for `environments`, and of `more`, or stop with the command that does."""
    missing = [need for need in (*needs(environments), *more) if not present(need)]
    wanted = [need for need in WANTED if not present(need)]
    if not missing and not (wanted and os.geteuid() == 0):
        if wanted:
            say(f"without {', '.join(wanted)}: rebuilds take longer")
        return
    packages = list(dict.fromkeys(package(need) for need in missing + wanted))
    command = ["apt-get", "install", "--no-install-recommends", *packages]
    if os.geteuid() or not shutil.which("apt-get"):
        if not missing:
            return
        raise Stop(f"missing {', '.join(missing)}; run: sudo {' '.join(command)}")
    quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}}
    with step("apt-get update") as this:
        run(["apt-get", "update"], check=False, beat=this, **quiet)
    with step(f"install {' '.join(packages)}") as this:
        done = run([*command[:2], "-y", *command[2:]], check=False, beat=this, **quiet)
    still = [need for need in missing if not present(need)]
    if still:
        errors = re.findall(r"^E: (.*)$", done.stdout, re.M) or ["no error shown"]
        if "No space left on device" in done.stdout:
            errors = ["disk full"]
        raise Stop(f"cannot install {', '.join(map(package, still))}: {errors[0]}; run: {' '.join(command)}")


def compiler(environment):
    """One line that identifies the compiler of `environment`."""
    command = f"{environment['cross_compile']}gcc"
    done = subprocess.run([command, "--version"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.stdout.decode(errors="replace").partition("\n")[0]
