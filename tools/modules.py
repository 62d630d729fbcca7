# SPDX-License-Identifier: GPL-2.0-only
"""make modules: the suites as modules pass twice in one boot, and go without a trace.

    ENV=x86_64          the environment, one whose programs this machine can run
    BASE=7.3|6.12       base kernel        KDIR=<tree>  your own kernel tree instead

Builds the suites as modules, and boots an initramfs of Debian's busybox that loads them,
unloads them, and does both again. Each load is judged as `make run` judges a guest. Results go
to out/modules/: console.log, and for each load ktap-N.log and results-N.json.
"""

import ast
import contextlib
import dataclasses
import graphlib
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import environments
import kvm_probe
import prereq
import run
import verdict
import worktree
from common import CACHE, OUT, ROOT, Stop, hold, run_main, say, spawn, step, write

LOADS = (1, 2)
PARTS = [f"{what} {number}" for number in LOADS for what in ("load", "unload")]
KCONFIG = [
    "CONFIG_MODULES=y", "CONFIG_MODULE_UNLOAD=y", "CONFIG_BLK_DEV_INITRD=y", "CONFIG_BINFMT_SCRIPT=y",
    *(f"CONFIG_RD_{name}=n" for name in ("GZIP", "BZIP2", "LZMA", "XZ", "LZO", "LZ4", "ZSTD")),
]
# A guest that panics ends at once; what /init says is not dropped when it says much.
KERNEL_ARGS = ["panic=-1", "printk.devkmsg=on"]
APPLETS = ("sh", "mount", "insmod", "rmmod", "reboot")

# What tools/modules/init says.
SAID = re.compile(r"modules: (?:(?P<part>(?:un)?load \d+) (?:begins|ends with: (?P<names>.*))|(?P<end>end)|(?P<error>.+))$")
# The lines of KTAP that are not indented: those of a module, not of a suite.
TOP = re.compile(r"KTAP version \d+$|1\.\.(?P<plan>\d+)$|(?P<result>(?:not )?ok) (?P<number>\d+)(?P<rest> .*)$")


def environment(env, work):
    """`env` with its suites as modules, in a build of its own."""
    text = "\n".join((work.path / top / ".kunitconfig").read_text(encoding="utf-8") for top in env["kunitconfig"])
    suites = re.findall(r"^(CONFIG_\w+_KUNIT_TEST)=y$", text, re.M)
    return {**env, "build": f"{env['build']}-modules", "kconfig_add":
            env["kconfig_add"] + KCONFIG + [f"{name}=m" for name in dict.fromkeys(suites)]}


def build(kunit, work, env, log):
    """Build kernel and modules; returns {module: its file}, in the order they can be loaded in."""
    build_dir = CACHE / "build" / work.key / env["build"]
    with contextlib.suppress(FileNotFoundError):
        if not all(path.exists() for path in built(build_dir).values()):
            (build_dir / "stamp.json").unlink()
    try:
        run.build(kunit, work, env, log)
        files = built(build_dir)
    except run.BuildFailure as failure:
        raise Stop(f"the modules do not build: {'; '.join(failure.args[0][:3])}; all of it in {log}") from None
    except FileNotFoundError:
        raise Stop("the kernel built no modules") from None
    return in_order(files, [name for name, path in files.items()
                            if any(path.is_relative_to(build_dir / top) for top in env["kunitconfig"])])


def built(build_dir):
    """{module: its file} of the modules of a build."""
    lines = (build_dir / "modules.order").read_text(encoding="utf-8").split()
    paths = [build_dir / Path(line).with_suffix(".ko") for line in lines]
    return {path.stem.replace("-", "_"): path for path in paths}


def in_order(files, wanted):
    """The items of `files` that the modules `wanted` and what they depend on are, what is needed first."""
    needs = {}
    left = [*wanted]
    while left:
        name = left.pop(0)
        if name in needs:
            continue
        if name not in files:
            raise Stop(f"{name}, on which a module depends, is not built")
        found = re.search(rb"\0depends=([^\0]*)\0", files[name].read_bytes())
        needs[name] = [one.replace("-", "_") for one in found[1].decode().split(",") if one] if found else []
        left += needs[name]
    return {name: files[name] for name in graphlib.TopologicalSorter(needs).static_order()}


def arguments(env, modules):
    """(kernel arguments, {module: its parameters}) of `env`: insmod does not look at the command line."""
    kernel, parameters = [], {name: [] for name in modules}
    for word in env["kernel_args"]:
        module, dot, parameter = word.partition(".")
        if dot and module in parameters:
            parameters[module].append(parameter)
        else:
            kernel.append(word)
    return kernel + KERNEL_ARGS, parameters


def cpio(entries):
    """An archive in the format newc of `entries`: (name, mode, content, device number)."""
    archive = b""
    for inode, (name, mode, data, device) in enumerate([*entries, ("TRAILER!!!", 0, b"", 0)], 1):
        path = name.encode() + b"\0"
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, os.major(device), os.minor(device), len(path), 0)
        for part in (b"070701" + b"".join(b"%08X" % field for field in fields) + path, data):
            archive += part + bytes(-len(part) % 4)
    return archive


def initramfs(modules, parameters):
    """The archive that the guest boots with."""
    def file(name, data, mode=0o644):
        return name, stat.S_IFREG | mode, data if isinstance(data, bytes) else data.encode(), 0
    entries = [(name, stat.S_IFDIR | 0o755, b"", 0) for name in ("bin", "dev", "proc")]
    entries += [(name, stat.S_IFCHR | 0o600, b"", device)
                for name, device in (("dev/console", os.makedev(5, 1)), ("dev/kmsg", os.makedev(1, 11)))]
    entries += [(f"bin/{name}", stat.S_IFLNK | 0o777, b"busybox", 0) for name in APPLETS]
    entries += [file("bin/busybox", Path(shutil.which("busybox")).read_bytes(), 0o755),
                file("init", (ROOT / "tools/modules/init").read_bytes(), 0o755),
                file("load", "".join(f"{' '.join([name, *parameters[name]])}\n" for name in modules)),
                file("unload", "".join(f"{name}\n" for name in reversed(modules)))]
    return cpio(entries + [file(f"{name}.ko", path.read_bytes()) for name, path in modules.items()])


def qemu(work, env, image, archive, kernel_args, accelerator):
    """QEMU's command line: kunit.py's own would reboot before /init runs."""
    text = (work.path / f"tools/testing/kunit/qemu_configs/{env['arch']}.py").read_text(encoding="utf-8")
    call = next(node.value for node in ast.parse(text).body if isinstance(node, ast.Assign))
    machine = {"extra_qemu_params": [], **{word.arg: ast.literal_eval(word.value) for word in call.keywords}}
    extra = [word for args in env["qemu_args"] for word in shlex.split(args)]
    return [env["qemu"], "-nodefaults", "-nographic", "-no-reboot", "-m", "1024", "-accel", accelerator,
            "-serial", machine.get("serial", "stdio"), "-kernel", image, "-initrd", archive,
            "-append", " ".join([*kernel_args, machine["kernel_command_line"]]), *machine["extra_qemu_params"], *extra]


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
        found = verdict.parse("\n".join(self.lines)).trouble
        return next((line for line in found if not line.startswith("-")), found[0] if found else "")


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


def merge(lines):
    """The KTAP of a load as one document: each module prints one of its own."""
    found, head, planned, before = [], None, 0, 0
    for line in lines:
        stamp = verdict.STAMP.match(line)
        prefix = line[:stamp.end()] if stamp else ""
        top = TOP.match(line[len(prefix):])
        if not top:
            found.append(line)
        elif top["plan"]:
            planned += int(top["plan"])
        elif top["result"]:
            found.append(f"{prefix}{top['result']} {before + int(top['number'])}{top['rest']}")
        else:
            head = prefix if head is None else head
            before = planned
    return "\n".join(found if head is None else [f"{head}KTAP version 1", f"{head}1..{planned}", *found]) + "\n"


def judge_load(kunit, env, number, lines, out):
    """Verdict of the load `number`."""
    text = merge(lines)
    log, results, printed = out / f"ktap-{number}.log", out / f"results-{number}.json", out / "kunit.txt"
    log.write_text(text, encoding="utf-8")
    status = kunit(["parse", f"--json={results}", log], printed)
    decoded = json.loads(results.read_text(encoding="utf-8")) if results.exists() else None
    return verdict.judge(text, decoded, status, env["suites"], env["skips"])


def statuses(judged):
    """{path of a case or parameter: status}"""
    return {"/".join(path): node.status for suite in judged.suites for path, node in suite.leaves()}


def abrupt(parts, hang):
    """How the guest ended before its script did, "" if it did not."""
    if "end" in parts and not hang:
        return ""
    name, part = [*parts.items()][-1]
    how = hang or "the guest ended too early"
    inside = [fault for fault in verdict.parse(merge(part.lines)).faults if "inside" in fault]
    last = [line for line in part.lines if line.strip()][-1:] if not hang else []
    return ": ".join([f"{how}, in {name}", *([part.complaint] if part.complaint else inside[:1] or last)])


def judge(parts, loads, hang, modules):
    """One line for each reason why the guest failed; `hang` says how the time limit was hit, if it was."""
    if how := abrupt(parts, hang):
        return [how]
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
                found.append(f"stays loaded: {', '.join(sorted(there)) or 'who knows'}")
        reasons += [f"{name}: {reason}" for reason in found]
    if [*parts][1:-1] != PARTS:
        reasons.append(f"the guest did: {', '.join(parts)}")
    if not reasons:
        first, second = map(statuses, loads.values())
        if first != second:
            other = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
            reasons.append(f"the loads differ in {', '.join(other)}")
    return reasons


def table(env, parts, loads):
    """Lines: suites by loads, passed/total cases, and the modules after each load and unload."""
    suites = list(dict.fromkeys([*env["suites"], *(suite.name for judged in loads.values() for suite in judged.suites)]))
    lines = [["", *(f"load {number}" for number in LOADS)]]
    for name in suites:
        found = [next((suite for suite in loads[load].suites if suite.name == name), None) if load in loads else None
                 for load in lines[0][1:]]
        lines.append([name, *(f"{sum(case.status == verdict.PASS for case in suite.rows)}/"
                              f"{max(len(suite.rows), suite.plan or 0)}" if suite else "-" for suite in found)])
    for what, title in (("load", "modules loaded"), ("unload", "after unloading")):
        found = [parts.get(f"{what} {number}", Part()).names for number in LOADS]
        lines.append([title, *("-" if names is None else str(len(names)) for names in found)])
    widths = [max(map(len, column)) for column in zip(*lines)]
    return [f"{line[0]:{widths[0]}}  " + "  ".join(word.rjust(width) for word, width in zip(line[1:], widths[1:]))
            for line in lines]


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
    kunit = run.Kunit(work, ())
    build_dir = CACHE / "build" / work.key / env["build"]
    build_dir.mkdir(parents=True, exist_ok=True)
    modules = build(kunit, work, env, build_dir.with_name(f"{env['build']}.log"))
    kernel_args, parameters = arguments(env, modules)
    archive, console = build_dir / "initramfs.cpio", out / "console.log"
    write(archive, initramfs(modules, parameters))
    hang = boot(qemu(work, env, run.image(work, env, build_dir), archive, kernel_args,
                     kvm_probe.accelerator(env["qemu"])), console, env["timeout"] * len(LOADS))
    parts = split(console.read_text(encoding="utf-8", errors="replace"))
    loads = {f"load {number}": judge_load(kunit, env, number, parts[f"load {number}"].lines, out)
             for number in LOADS if f"load {number}" in parts}
    reasons = judge(parts, loads, hang, modules)
    say()
    for line in table(env, parts, loads):
        say(line)
    say()
    if reasons:
        for name, judged in loads.items():
            if judged.status == verdict.FAIL and not parts[name].errors:
                run.explain({"name": name}, judged, out / f"ktap-{name.split()[1]}.log")
        say(f"FAIL: {env['name']} as modules: {'; '.join(reasons)}; see {console}")
        return 1
    say(f"PASS: {len(modules)} modules, loaded and unloaded twice, in {env['name']}, Linux {work.version}, "
        f"{time.monotonic() - start:.0f} s; details in {out}")
    return 0


if __name__ == "__main__":
    run_main(main)
