# SPDX-License-Identifier: GPL-2.0-only
"""make modules: the suites as modules pass twice in one boot, and go without a trace.

    ENV=x86_64          the environment, one whose programs this machine can run
    BASE=7.3|6.12       base kernel        KDIR=<tree>  your own kernel tree instead

Builds the suites as modules, and boots an initramfs of Debian's busybox that loads them,
unloads them, and does both again. Each load is judged as `make run` judges a guest. Results go
to out/modules/: console.log, ktap-N.log of each load, and results.json.
"""

import ast
import contextlib
import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import environments
import kvm_probe
import prereq
import verdict
import worktree
from common import OUT, ROOT, Stop, hold, run, run_main, say, spawn, step, table, write
from guests import BuildFailure, Kunit, build, build_directory, explain, image

LOADS = (1, 2)
PARTS = [f"{what} {number}" for number in LOADS for what in ("load", "unload")]
KCONFIG = [
    "CONFIG_MODULES=y", "CONFIG_MODULE_UNLOAD=y", "CONFIG_BLK_DEV_INITRD=y", "CONFIG_BINFMT_SCRIPT=y",
    *(f"CONFIG_RD_{name}=n" for name in ("GZIP", "BZIP2", "LZMA", "XZ", "LZO", "LZ4", "ZSTD")),
]
# A guest that panics ends at once; what /init says is not dropped when it says much.
KERNEL_ARGS = ["panic=-1", "printk.devkmsg=on"]
APPLETS = ("sh", "mount", "basename", "depmod", "modprobe", "rmmod", "reboot")

# What tools/modules/init says.
SAID = re.compile(r"modules: (?:(?P<part>(?:un)?load \d+) (?:begins|ends with: (?P<names>.*))|(?P<end>end)|(?P<error>.+))$")


def environment(env, work):
    """`env` with its suites as modules, in a build of its own."""
    text = "\n".join((work.path / top / ".kunitconfig").read_text(encoding="utf-8") for top in env["kunitconfig"])
    suites = re.findall(r"^(CONFIG_\w+_KUNIT_TEST)=y$", text, re.M)
    return {**env, "build": f"{env['build']}-modules", "kconfig_add":
            env["kconfig_add"] + KCONFIG + [f"{name}=m" for name in dict.fromkeys(suites)]}


def build_modules(work, env):
    """Build the kernel and its modules; returns the files of the suites and their fixture."""
    build_dir = build_directory(work, env)
    log = build_dir.with_name(f"{env['build']}.log")

    def built():
        lines = (build_dir / "modules.order").read_text(encoding="utf-8").split()
        return [build_dir / Path(line).with_suffix(".ko") for line in lines if str(Path(line).parent) in env["kunitconfig"]]
    with contextlib.suppress(FileNotFoundError):
        if not all(path.exists() for path in built()):
            (build_dir / "stamp.json").unlink()
    try:
        build(Kunit(work, ()), work, env, log)
        return built()
    except BuildFailure as failure:
        raise Stop(f"the modules do not build: {'; '.join(failure.args[0][:3])}; all of it in {log}") from None
    except FileNotFoundError:
        raise Stop("the kernel built no modules") from None


def initramfs(build_dir, modules):
    """The archive that the guest boots with, made by the kernel's own usr/gen_init_cpio."""
    archive, listing, place = build_dir / "initramfs.cpio", build_dir / "initramfs.list", "/lib/modules"
    release = (build_dir / "include/config/kernel.release").read_text(encoding="ascii").strip()
    lines = [f"dir {path} 755 0 0" for path in ("/bin", "/dev", "/proc", "/lib", place, f"{place}/{release}")]
    lines += ["nod /dev/console 600 0 0 c 5 1", "nod /dev/kmsg 600 0 0 c 1 11", "file /init init 755 0 0",
              f"file /bin/busybox {shutil.which('busybox')} 755 0 0", *(f"slink /bin/{name} busybox 777 0 0" for name in APPLETS)]
    lines += [f"file {place}/{release}/{path.name} {path} 644 0 0" for path in modules]
    listing.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with open(archive, "wb") as output:
        run([build_dir / "usr/gen_init_cpio", listing], cwd=ROOT / "tools/modules", stdout=output)
    return archive


def qemu(work, env, archive, accelerator):
    """QEMU's command line: kunit.py's own would reboot before /init runs."""
    text = (work.path / f"tools/testing/kunit/qemu_configs/{env['arch']}.py").read_text(encoding="utf-8")
    call = next(node.value for node in ast.parse(text).body if isinstance(node, ast.Assign))
    machine = {"extra_qemu_params": [], **{word.arg: ast.literal_eval(word.value) for word in call.keywords}}
    extra = [word for args in env["qemu_args"] for word in shlex.split(args)]
    return [env["qemu"], "-nodefaults", "-nographic", "-no-reboot", "-m", "1024", "-accel", accelerator,
            "-serial", machine.get("serial", "stdio"), "-kernel", build_directory(work, env) / image(work, env), "-initrd", archive,
            "-append", " ".join([*env["kernel_args"], *KERNEL_ARGS, machine["kernel_command_line"]]),
            *machine["extra_qemu_params"], *extra]


def boot(command, log, limit):
    """Run the guest; returns "", or that it had to be ended after `limit` seconds."""
    with step("run the guest") as this, open(log, "wb") as output, \
            spawn(command, stdout=output, stderr=subprocess.STDOUT) as process:
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=1)
            this.beat()
            if process.returncode is None and this.seconds() > limit:
                return f"the guest did not end within {limit} s"
    return ""


@dataclasses.dataclass
class Part:
    """A stretch of the console's log: the boot, a load, an unload, the end."""
    lines: list = dataclasses.field(default_factory=list)
    names: list = None          # of the modules that were there when it ended
    errors: list = dataclasses.field(default_factory=list)

    @property
    def complaint(self):
        """What the kernel complains of first, or "" if it does not."""
        return next(iter(verdict.complaints("\n".join(self.lines))), "")


def split(text):
    """{name of the part: Part} of the console's log, in the order they began."""
    parts = {"boot": Part()}
    current = parts["boot"]
    for raw in text.split("\n"):
        line = raw.rstrip("\r")
        said = SAID.match(verdict.STAMP.sub("", line, 1))
        if not said:
            current.lines.append(line)
        elif said["error"]:
            current.errors.append(said["error"])
        elif said["names"] is not None:
            current.names = [name for name in said["names"].split() if name != "none"]
        else:
            current = parts[said["part"] or said["end"]] = Part()
    return parts


def judge_loads(parts, kernel, env):
    """{name of the part: Verdict} of the loads, judged as guests of `env`; `kernel` is the kernel's source."""
    return {name: verdict.judge("\n".join(parts[name].lines), kernel, 0, env["suites"], env["skips"])
            for name in PARTS if name.startswith("load") and name in parts}


def statuses(judged):
    """{path of a case or parameter: status}"""
    return {"/".join(path): node.status for suite in judged.suites for path, node in suite.leaves()}


def judge(parts, loads, hang, modules):
    """One line for each reason why the guest failed; `hang` says how the time limit was hit, if it was."""
    if hang or "end" not in parts:
        name, part = [*parts.items()][-1]
        said = [line.strip() for _, line in verdict.lines("\n".join(part.lines)) if line.strip() and "terminating on signal" not in line]
        last = part.complaint or "".join(said[-1:])
        return [f"{hang or 'the guest ended too early'}, in {name}{': ' + last if last else ''}"]
    reasons = []
    for name, part in parts.items():
        found = [*part.errors]
        if name in loads:
            found += loads[name].reasons
        elif part.complaint:
            found.append(f"kernel complaint: {part.complaint}")
        if name in PARTS and not part.errors:
            there = {*(part.names or ())}
            if name.startswith("load") and (missing := [one for one in modules if one not in there]):
                found.append(f"not loaded: {', '.join(missing)}")
            if name.startswith("unload") and (part.names is None or there):
                found.append(f"stays loaded: {', '.join(sorted(there)) or 'unknown'}")
        reasons += [f"{name}: {reason}" for reason in found]
    if [*parts][1:-1] != PARTS:
        reasons.append(f"the guest did: {', '.join(parts)}")
    if not reasons:
        first, second = map(statuses, loads.values())
        if first != second:
            other = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
            reasons.append(f"the loads differ in {', '.join(other)}")
    return reasons


def matrix(env, parts, loads):
    """Lines: suites by loads, passed/total cases, and the modules after each load and unload."""
    names = [f"load {number}" for number in LOADS]
    rows = [["", *names]]
    rows += [[suite, *(loads[name].passed(suite) if name in loads else "-" for name in names)] for suite in env["suites"]]
    for what, title in (("load", "modules loaded"), ("unload", "after unloading")):
        found = [parts.get(f"{what} {number}", Part()).names for number in LOADS]
        rows.append([title, *("-" if names is None else str(len(names)) for names in found)])
    return table(rows)


def main():
    start = time.monotonic()
    if len(sys.argv) > 1:
        raise Stop(f"modules.py takes no arguments: {sys.argv[1]}")
    chosen = environments.choose(os.environ.get("ENV", "").strip() or "x86_64")
    if len(chosen) != 1 or chosen[0]["arch"] != os.uname().machine:
        raise Stop("ENV is one environment whose programs this machine can run, such as x86_64: busybox is Debian's")
    hold(str(OUT))
    out = OUT / "modules"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    prereq.ensure([{**chosen[0], "needs": [*chosen[0]["needs"], "busybox"]}])
    work = worktree.prepare(os.environ.get("BASE") or None, os.environ.get("KDIR") or None)
    env = environment(chosen[0], work)
    files = build_modules(work, env)
    modules, console = [path.stem.replace("-", "_") for path in files], out / "console.log"
    hang = boot(qemu(work, env, initramfs(build_directory(work, env), files), kvm_probe.accelerator(env["qemu"])),
                console, env["timeout"] * len(LOADS))
    parts = split(console.read_text(encoding="utf-8", errors="replace"))
    loads = judge_loads(parts, work.path, env)
    for name in loads:
        write(out / f"ktap-{name.split()[1]}.log", "\n".join(parts[name].lines) + "\n")
    write(out / "results.json", json.dumps({name: statuses(judged) for name, judged in loads.items()}, indent=1) + "\n")
    reasons = judge(parts, loads, hang, modules)
    say("", *matrix(env, parts, loads), "")
    if reasons:
        for name, judged in loads.items():
            if judged.status == verdict.FAIL and not parts[name].errors:
                explain(name, judged, out / f"ktap-{name.split()[1]}.log")
        say(f"FAIL: {env['name']} as modules: {'; '.join(reasons)}; see {console}")
        return 1
    say(f"PASS: {len(modules)} modules, loaded and unloaded twice, in {env['name']}, Linux {work.version}, "
        f"{time.monotonic() - start:.0f} s; details in {out}")
    return 0


if __name__ == "__main__":
    run_main(main)
