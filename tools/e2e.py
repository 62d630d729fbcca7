# SPDX-License-Identifier: GPL-2.0-only
"""make e2e: NVDIMMs, DIMMs and dax/kmem, driven by ndctl and daxctl, without the series and with it.

    ENV=e2e-x86_64      environments (default: all of tools/e2e/scenarios.toml)
    BASE=7.3|6.12       base kernel        KDIR=<tree>  your own kernel tree instead
    FILTER=glob         scenarios by name

    tools/e2e.py --quick    the quick scenarios, on x86_64 with the series only

Builds a small kernel and an initramfs of Debian's packages, and boots them under QEMU. tools/e2e/init runs the
steps of tools/e2e/scenarios.toml there. After each step, free System RAM and nr_memmap_pages are compared with what
the scenario expects. Results go to out/e2e.json, the guests' logs to out/e2e/. Exit code 0 only if every
scenario ended as expected on each kernel.
"""

import collections
import contextlib
import fnmatch
import itertools
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import base
import prereq
import guests as suites
import verdict
import worktree
from common import CACHE, OUT, ROOT, Stop, hold, lock, need_space, run, run_main, say, spawn, step, write

DATA = ROOT / "tools/e2e"
SUITE = "bookworm"      # of Debian; the scenarios were written with its ndctl 76
PACKAGES = ("busybox-static", "ndctl", "daxctl", "e2fsprogs", "usr-is-merged")
TIMEOUT = 120           # seconds for a step that does not say otherwise
SLACK = "1M"            # System RAM that comes and goes by itself, and page tables
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
MIB = UNITS["M"]
ANSWER = re.compile(r"e2e: (\S+) rc=(\d+) free=(\d+) memmap=(-?\d+) up=([\d.]+) said=(.*)")
Answer = collections.namedtuple("Answer", "rc free memmap up said lines")


class Failure(Exception):
    """A scenario did not go as expected; `args[0]` says why."""


def load(path=DATA / "scenarios.toml"):
    """(environments, kernels, scenarios) of the data file, one scenario for each combination of its `each`."""
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Stop(f"{path}: {error}") from None
    environments = {name: {**data["environment"].get(env.get("like"), {}), **env, "name": name, "needs": []}
                    for name, env in data["environment"].items()}
    scenarios = [fill(one, dict(zip(one.get("each", {}), values))) for one in data["scenario"]
                 for values in itertools.product(*one.get("each", {}).values())]
    for name, count in collections.Counter(one["name"] for one in scenarios).items():
        if count > 1:
            raise Stop(f"{path}: {count} scenarios are called {name}")
    return environments, data["kernel"], scenarios


def fill(value, values):
    """`value` with {name} in its texts replaced by values[name]."""
    if isinstance(value, dict):
        return {key: fill(one, values) for key, one in value.items()}
    if isinstance(value, list):
        return [fill(one, values) for one in value]
    return re.sub(r"\{(\w+)\}", lambda name: str(values.get(name[1], name[0])), value) if isinstance(value, str) else value


def size(text):
    """Bytes of 0, "20G" or "510M/64"."""
    number, unit, divisor = re.fullmatch(r"(\d+)([KMG]?)(?:/(\d+))?", str(text)).groups()
    return int(number) * UNITS[unit] // int(divisor or 1)


def packages(arch):
    """The directory where PACKAGES and all that they depend on are unpacked for `arch`; fetched once."""
    root = CACHE / "e2e" / f"{SUITE}-{arch}"
    with lock(f"e2e-{SUITE}-{arch}"):
        if root.exists():
            return root
        CACHE.mkdir(parents=True, exist_ok=True)
        with step(f"packages of {SUITE} for {arch}: {' '.join(PACKAGES)}") as this, \
                tempfile.TemporaryDirectory(dir=CACHE, prefix=".e2e.") as temp:
            top = Path(temp)
            (top / "debs/partial").mkdir(parents=True)
            options = [word for value in (f"APT::Architecture={arch}", f"APT::Architectures={arch}",
                                          "APT::Get::List-Cleanup=false", f"Dir::Cache::archives={temp}/debs") for word in ("-o", value)]
            for words in (["update"], ["install", "-y", "--no-install-recommends", "--download-only", *PACKAGES]):
                done = base.apt(SUITE, "apt-get", *options, *words, beat=this)
                if done.returncode:
                    raise Stop(f"cannot fetch the packages for {arch}: {base.problem(done.stdout)}")
            for deb in (top / "debs").glob("*.deb"):
                run(["dpkg-deb", "-x", deb, top / "root"])
            for useless in (top / "root/usr/share", *(top / "root").glob("usr/lib/*/gconv")):
                shutil.rmtree(useless)
            root.parent.mkdir(exist_ok=True)
            (top / "root").rename(root)
    return root


class Build:
    """The kernel `name` and the initramfs of an environment."""

    def __init__(self, env, name, kernel, base_name, kdir):
        self.env = env
        self.work = worktree.prepare(base_name, kdir, patched=kernel["patched"])
        if kernel.get("edits"):
            self.work = worktree.prepare(base_name, kdir, overlay=edited(self.work, kernel["edits"]))
        self.directory = CACHE / "build" / self.work.key / env["build"]
        self.image, self.initramfs = (self.directory / f"{name}.{kind}" for kind in ("image", "cpio"))
        stamp = self.directory / f"{name}.json"
        sources = [path.read_text(encoding="utf-8") for path in sorted(DATA.iterdir()) if path.suffix != ".toml"]
        inputs = json.dumps([self.work.id, prereq.compiler(env), env["include"], sources])
        if stamp.exists() and stamp.read_text(encoding="utf-8") == inputs:
            return
        need_space(self.directory, suites.BUILD_MIB, f"build {env['build']}")
        stamp.unlink(missing_ok=True)
        self.directory.mkdir(parents=True, exist_ok=True)
        with step(f"build {env['build']}, {name}") as this:
            self.configure(this)
            self.make(this, env["image"].rpartition("/")[2], "headers")
        shutil.copyfile(self.directory / env["image"], self.image)
        self.pack()
        write(stamp, inputs)

    def make(self, this, *words, **environ):
        """Run make; Stop with the first error."""
        env, log = self.env, self.directory / "build.log"
        command = ["make", "-C", self.work.path, f"O={self.directory}", f"ARCH={env['arch']}", f"-j{os.cpu_count()}",
                   f"CROSS_COMPILE={env['cross_compile']}", *words]
        if env["include"]:
            write(self.directory / env["include"], (DATA / env["include"]).read_bytes())
            command.append(f"KCPPFLAGS=-include {self.directory / env['include']}")
        done = run(command, check=False, beat=this, env={**suites.build_environ(), **environ})
        write(log, done.stdout)
        if done.returncode:
            errors = [line.strip() for line in done.stdout.splitlines() if suites.COMPILER_ERROR.search(line)]
            raise Stop(f"build {env['build']} failed: {(errors or ['no error shown'])[0]}; all of it in {log}")

    def configure(self, this):
        """The environment's fragment on top of tinyconfig; Stop if a line of it does not hold then."""
        fragment = (DATA / self.env["config"]).read_text(encoding="ascii")
        tiny = [(self.work.path / f"kernel/configs/{name}.config").read_text(encoding="ascii") for name in ("tiny-base", "tiny")]
        write(self.directory / "all.config", "".join([*tiny, fragment]))    # of two values the last one counts
        self.make(this, "allnoconfig", KCONFIG_ALLCONFIG=str(self.directory / "all.config"), CCACHE_DISABLE="1")
        config = (self.directory / ".config").read_text(encoding="ascii").splitlines()
        for line in fragment.splitlines():
            if line.startswith("CONFIG_") and line not in config and f"# {line[:-2]} is not set" not in config:
                raise Stop(f"tools/e2e/{self.env['config']}: {line} does not hold in {self.directory / '.config'}")

    def pack(self):
        """The initramfs, with the kernel's own tools: nolibc for map.c, gen_initramfs.sh for the archive."""
        with tempfile.TemporaryDirectory(dir=self.directory, prefix=".initramfs.") as temp:
            root = shutil.copytree(packages(self.env["debian"]), Path(temp, "root"), symlinks=True)
            shutil.copy(DATA / "init", root)
            run([f"{self.env['cross_compile']}gcc", *self.env["cflags"], "-Os", "-Wall", "-static", "-nostdlib", "-fno-stack-protector",
                 "-include", self.work.path / "tools/include/nolibc/nolibc.h", f"-I{self.directory / 'usr/include'}",
                 "-o", root / "bin/map", DATA / "map.c", "-lgcc"])
            write(Path(temp, "nodes"), "nod /dev/console 600 0 0 c 5 1\n" + "".join(
                f"dir /{name} 755 0 0\n" for name in ("proc", "sys", "dev", "tmp", "mnt")))
            run(["sh", self.work.path / "usr/gen_initramfs.sh", "-o", self.initramfs, "-u", "squash", "-g", "squash", root,
                 Path(temp, "nodes")], cwd=self.directory)


def edited(work, edits):
    """{path: content} of the files of `work` that `edits` change."""
    files = {}
    for edit in edits:
        text = files.get(edit["file"]) or (work.path / edit["file"]).read_text(encoding="utf-8")
        if text.count(edit["old"]) != 1:
            raise Stop(f"scenarios.toml: {edit['file']} has the text to replace {text.count(edit['old'])} times, not once")
        files[edit["file"]] = text.replace(edit["old"], edit["new"])
    return {name: text.encode() for name, text in files.items()}


class Guest:
    """A guest that waits for steps; leaving the `with` block ends it. `last` is its last Answer, `seconds` its guest time."""

    def __init__(self, env, built, boot, log):
        self.command = [env["qemu"], *" ".join(env["qemu_args"]).split(), "-nodefaults", "-display", "none", "-serial", "stdio",
                        "-kernel", built.image, "-initrd", built.initramfs,
                        "-append", " ".join([*env["kernel_args"], "panic=-1", "printk.devkmsg=on", boot])]
        self.log, self.stack = log, contextlib.ExitStack()
        self.buffer, self.count, self.seconds, self.last = b"", 0, 0.0, None

    def __enter__(self):
        with self.stack:
            self.socket = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="e2e.")) + "/qmp"
            self.output = self.stack.enter_context(open(self.log, "ab"))
            self.process = self.stack.enter_context(spawn([*self.command, "-qmp", f"unix:{self.socket},server=on,wait=off"],
                                                          bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
            self.stack.enter_context(self.process.stdin)
            self.stack.enter_context(self.process.stdout)
            self.wait("ready")
            self.stack = self.stack.pop_all()
        return self

    def __exit__(self, *why):
        return self.stack.__exit__(*why)

    def wait(self, name, timeout=TIMEOUT):
        """The Answer `name`; Failure if the guest dies, or does not answer within `timeout` seconds."""
        end, lines = time.monotonic() + timeout, []
        while True:
            line, newline, rest = self.buffer.partition(b"\n")
            if newline:
                self.buffer = rest
                lines.append(verdict.STAMP.sub("", line.decode(errors="replace").rstrip("\r"), 1))
                if (found := ANSWER.match(lines[-1])) and found[1] == name:
                    answer = Answer(*map(int, found.group(2, 3, 4)), float(found[5]), found[6], lines)
                    self.seconds += answer.up - (self.last.up if self.last and self.last.up <= answer.up else 0)
                    self.last = answer
                    return answer
            elif any("Kernel panic" in line for line in lines):
                raise Failure(f"the guest died: {trouble(lines)}")
            elif not select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))[0]:
                raise Failure(f"no answer in {timeout} s{': ' if trouble(lines) else ''}{trouble(lines)}")
            elif data := os.read(self.process.stdout.fileno(), 1 << 16):
                self.output.write(data)
                self.output.flush()
                self.buffer += data
            else:
                last = ["", *(line for line in lines if line), self.buffer.decode(errors="replace").strip()]
                raise Failure(f"the guest ended: {trouble(lines) or last[-1] or last[-2]}")

    def send(self, name, text):
        """Send a shell command to the guest."""
        with contextlib.suppress(BrokenPipeError):      # wait() says why
            self.process.stdin.write(f"{name} {text}\n".encode())

    def do(self, text, timeout=TIMEOUT):
        """Carry out a step, on the host or in the guest; returns the Answer."""
        word, *rest = text.split()
        if word == "reboot":            # a reset: NVDIMMs keep contents and labels
            self.send("0", "reboot -f")
            return self.wait("ready")
        if word in ("plug", "unplug"):
            getattr(self, word)(*rest)
        self.count += 1
        self.send(self.count, ":" if word in ("plug", "unplug") else text)
        return self.wait(str(self.count), timeout)

    def plug(self, name, amount):
        """Add a DIMM of `amount` bytes, such as 1G."""
        self.qmp("object-add", **{"qom-type": "memory-backend-ram", "id": f"mem-{name}", "size": size(amount), "reserve": False})
        self.qmp("device_add", driver="pc-dimm", id=name, memdev=f"mem-{name}")

    def unplug(self, name):
        """Ask the guest to give a DIMM back, and wait until it has."""
        self.qmp("device_del", id=name)
        end = time.monotonic() + TIMEOUT
        while any(one["data"].get("id") == name for one in self.qmp("query-memory-devices")):
            if time.monotonic() > end:
                raise Failure(f"the guest keeps {name}")
            time.sleep(0.1)
        self.qmp("object-del", id=f"mem-{name}")

    def qmp(self, command, **arguments):
        """What QEMU returns for a QMP command; Failure if it refuses."""
        with socket.socket(socket.AF_UNIX) as link, link.makefile("rw", encoding="utf-8") as file:
            link.connect(self.socket)
            for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                file.write(json.dumps(request) + "\n")
                file.flush()
                while not {"return", "error"} & (reply := json.loads(file.readline())).keys():
                    pass                # the greeting, and events
        if "error" in reply:
            raise Failure(f"QEMU refuses {command}: {reply['error']['desc']}")
        return reply["return"]


def trouble(lines):
    """The kernel's first complaint among `lines`, or ""."""
    found = [line.strip() for line in lines if verdict.TROUBLE.match(line)]
    return next((line for line in found if not line.startswith("-")), found[0] if found else "")


def play(guest, one):
    """Run one scenario; returns the most System RAM and memmap that a step took, in bytes. Failure says which step failed."""
    before, most = guest.last, {"ram": 0, "memmap": 0}
    for todo in [*one["steps"], {"do": "true", "where": "at the end", "ram": 0, "memmap": 0}]:
        todo = todo if isinstance(todo, dict) else {"do": todo}
        where = todo.get("where", todo["do"])
        answer = guest.do(todo["do"], todo.get("timeout", TIMEOUT))
        if complaint := trouble([line for line in answer.lines if not (todo.get("trace") and line.startswith("Call Trace:"))]):
            raise Failure(f"{where}: kernel complaint: {complaint}")
        errors = [line for line in answer.lines[:-1] if re.search(r"error -\d+|fail", line)] + [answer.said]
        if "fails" in todo and not (answer.rc and re.search(todo["fails"], "\n".join(errors))):
            raise Failure(f"{where}: does not fail with {todo['fails']}: exit code {answer.rc}, {errors[0]}")
        if answer.rc and "fails" not in todo:
            raise Failure(f"{where}: {errors[0] or f'exit code {answer.rc}'}")
        for key, took in (("ram", before.free - answer.free), ("memmap", answer.memmap - before.memmap)):
            if key in todo and abs(took - size(todo[key])) > (size(todo.get("slack", SLACK)) if key == "ram" else 0):
                raise Failure(f"{where}: {'System RAM' if key == 'ram' else 'nr_memmap_pages'} is {took / MIB:.2f} MiB, "
                              f"not {size(todo[key]) / MIB:.2f}")
            most[key] = max(most[key], took) if key in todo or key == "memmap" else most[key]
    return most


def play_all(env, name, built, scenarios, log):
    """Run `scenarios` on the kernel `name`; returns their rows. A guest runs those with the same boot, until one fails."""
    rows, left, seconds = [], list(scenarios), 0.0
    with step(f"run {env['name']}, {name}: {len(left)} scenarios") as this:
        while left:
            boot, count = left[0].get("boot", ""), len(rows)
            guest = Guest(env, built, boot, log)
            try:
                with guest:
                    play(guest, {"steps": env["prepare"]})
                    while left and left[0].get("boot", "") == boot:
                        this.beat(f"{len(rows)} done")
                        rows.append({"environment": env["name"], "kernel": name, "scenario": left.pop(0), "reason": "", "ram": 0, "memmap": 0})
                        start = guest.last.up
                        rows[-1].update(play(guest, rows[-1]["scenario"]), seconds=round(guest.last.up - start, 2))
            except Failure as failure:
                if len(rows) == count:
                    raise Stop(f"{env['name']}, {name}: the guest does not start: {failure}; see {log}") from None
                rows[-1].update(reason=str(failure), seconds=round(guest.last.up - start, 2))
            seconds += guest.seconds
        this.result = f"{seconds:.0f} s of guest time"
    return rows


def judge(row):
    """What is wrong with a row, or "": where `fails_on` names its kernel, the scenario has to fail, and in that way."""
    wanted = row["scenario"].get("fails_on", {}).get(row["kernel"])
    if not wanted:
        return row["reason"]
    return "" if row["reason"] and re.search(wanted, row["reason"]) else f"should fail with {wanted}: {row['reason'] or 'it works'}"


def table(rows, kernels):
    """Lines: the scenarios, for each kernel whether they work, MiB of System RAM, and seconds of guest time."""
    lines, found = [["environment", "scenario", *(f"{name}{what}" for name in kernels for what in ("", " MiB", " s"))]], {}
    for row in rows:
        found.setdefault((row["environment"], row["scenario"]["name"]), {})[row["kernel"]] = row
    for key, by in found.items():
        cells = [(("fails" if by[name]["reason"] else "works"), f"{by[name]['ram'] / MIB:.1f}", f"{by[name]['seconds']:.1f}")
                 if name in by else ("", "", "") for name in kernels]
        lines.append([*key, *itertools.chain(*cells)])
    widths = [max(map(len, column)) for column in zip(*lines)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]


def chosen(quick):
    """(environments, kernels, scenarios) that were asked for."""
    environments, kernels, scenarios = load()
    wanted = re.split(r"[,\s]+", os.environ.get("ENV", "").strip()) if os.environ.get("ENV", "").strip() else ["all"]
    if unknown := [name for name in wanted if name not in environments and name != "all"]:
        raise Stop(f"unknown environment {', '.join(unknown)}: ENV is one of {', '.join(environments)}, all")
    if quick:
        wanted, kernels = ["e2e-x86_64"], {"series": kernels["series"]}
        scenarios = [one for one in scenarios if one.get("quick")]
    pattern = os.environ.get("FILTER", "").strip() or "*"
    scenarios = [one for one in scenarios if fnmatch.fnmatch(one["name"], pattern)]
    envs = [env for name, env in environments.items() if name in wanted or "all" in wanted]
    if not any(env["name"] in one["env"] for env in envs for one in scenarios):
        raise Stop(f"FILTER '{pattern}' matches no scenario of {' '.join(env['name'] for env in envs)}")
    return envs, kernels, scenarios


def main():
    start = time.monotonic()
    if sys.argv[1:] not in ([], ["--quick"]):
        raise Stop(f"e2e.py takes --quick or nothing, not {' '.join(sys.argv[1:])}")
    envs, kernels, scenarios = chosen(bool(sys.argv[1:]))
    hold(str(OUT))
    (OUT / "e2e.json").unlink(missing_ok=True)
    shutil.rmtree(OUT / "e2e", ignore_errors=True)
    (OUT / "e2e").mkdir(parents=True)
    prereq.ensure(envs)
    rows, faults = [], []
    for env, (name, kernel) in itertools.product(envs, kernels.items()):
        mine = [one for one in scenarios if env["name"] in one["env"] and name in one.get("kernels", ("unpatched", "series"))]
        if not mine:
            continue
        log = OUT / "e2e" / f"{env['name']}-{name}.log"
        try:
            built = Build(env, name, kernel, os.environ.get("BASE") or None, os.environ.get("KDIR") or None)
            found = play_all(env, name, built, mine, log)
        except Stop as stop:        # the other environments run all the same
            faults.append(str(stop))
            say(f"FAIL: {stop}")
            continue
        for row in found:
            if wrong := judge(row):
                faults.append(f"{env['name']}, {name}: {row['scenario']['name']}: {wrong}")
                say(f"FAIL: {faults[-1]}; see {log}")
        rows += found
    write(OUT / "e2e.json", json.dumps({"schema": 1, "faults": faults, "results": [
        {**row, "scenario": row["scenario"]["name"], "wrong": judge(row)} for row in rows]}, indent=1) + "\n")
    for line in ["", *table(rows, kernels), ""]:
        say(line)
    if faults or not rows:
        say(f"FAIL: {'; '.join(faults)}")
        return 1
    say(f"PASS: {len(rows)} scenarios in {' '.join(env['name'] for env in envs)}, {time.monotonic() - start:.0f} s; "
        f"details in {OUT / 'e2e.json'}")
    return 0


if __name__ == "__main__":
    run_main(main)
