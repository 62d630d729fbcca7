# SPDX-License-Identifier: GPL-2.0-only
"""make bench: what the memmap of a section costs, on an unpatched kernel and on the patched one.

    BASE=7.3|6.12       base kernel        KDIR=<tree>  your own kernel tree instead

Both trees get the suite of tools/bench, and nothing else differs but the series. Each kernel
boots twice: under QEMU's -icount, where a nanosecond of the guest is a retired
instruction, and without. Results go to out/bench.json, and the guests' logs to out/bench/.
"""

import datetime
import json
import os
import re
import shutil
import sys
import time

import environments
import guests
import prereq
import verdict
import worktree
from common import OUT, ROOT, Stop, hold, run_main, say, table, write

ENVIRONMENT = "x86_64"
SUITE = "vmemmap_altmap_bench"
DIRECTORY = "mm/bench"
KERNELS = ("unpatched", "patched")
MEMORIES = {
    "ram_huge": "RAM, huge pages", "ram_base": "RAM, base pages", "altmap_huge": "altmap, huge pages",
    "altmap_base": "altmap, base pages", "mixed": "altmap, mixed",
}
LAYOUTS = {             # (PMD leaves, PTEs) of the memmap of all sections
    "ram_huge": (8, 0), "ram_base": (0, 4096), "altmap_huge": (8, 0), "altmap_base": (0, 4096), "mixed": (7, 512),
}
SECTIONS = 8            # of a measurement; together they describe 1 GiB
PAGE = 4096
COUNTS = ("ram_pages", "device_pages", "pmd_tables", "pte_tables", "pmd", "pte")
# What a nanosecond of the guest is: how it boots for that.
CLOCKS = {
    "instructions": {"qemu_args": ["-icount shift=0,sleep=off"], "kernel_args": []},
    "ns": {"qemu_args": [], "kernel_args": ["bench_hpet", "clocksource=hpet"]},
}
SPREAD = 16             # instructions: if the median is further from the minimum, repetitions do not agree
SCHEMA = 1


def environment(envs):
    """The environment of the bench: not what makes kernels slow to find more, and no suites but ours."""
    env = envs[ENVIRONMENT]
    return {**env, "build": "bench", "kunitconfig": [DIRECTORY], "suites": [SUITE], "skips": [], "machine": "",
            "configs": [name for name in env["configs"] if name != "debug"]}


def overlay(work):
    """The bench's files, and the line that builds them, as worktree.prepare() takes them."""
    files = {f"{DIRECTORY}/{path.name}": path.read_bytes() for path in (ROOT / "tools/bench").iterdir()
             if path.name in ("Makefile", ".kunitconfig") or path.suffix == ".c"}
    makefile = (work.path / "mm/Makefile").read_bytes()
    return {**files, "mm/Makefile": makefile + f"obj-y += {DIRECTORY.partition('/')[2]}/\n".encode()}


def parse(text):
    """{memory: {field: number, or "error": text}} of the log of a guest."""
    found = {}
    for name, rest in re.findall(r"bench: (\w+) (\S.*?)\s*$", text, re.M):
        fields = dict(re.findall(r"(\w+)=(\S+)", rest))
        if name in found or name not in MEMORIES:
            raise Stop(f"the bench says something unexpected: bench: {name} {rest}")
        found[name] = {"error": fields["error"]} if "error" in fields else numbers(name, fields)
    if missing := [name for name in MEMORIES if name not in found]:
        raise Stop(f"the bench measured nothing for {', '.join(missing)}")
    return found


def numbers(name, fields):
    wanted = ("populate_ns", "populate_spread", "free_ns", "free_spread", *COUNTS)
    for field in wanted:
        if not fields.get(field, "").isdecimal():
            raise Stop(f"the bench's line for {name} has no number {field}")
    return {field: int(fields[field]) for field in wanted}


def merge(logs):
    """One kernel's measurements: {memory: {...}} from {clock: parse()}."""
    first = logs["instructions"]
    found = {}
    for name, one in first.items():
        if any(log[name].get("error") != one.get("error") for log in logs.values()):
            raise Stop(f"the bench of {name} failed in one run, but not in the other")
        if "error" in one:
            found[name] = one
            continue
        if any(log[name][field] != one[field] for log in logs.values() for field in COUNTS):
            raise Stop(f"two runs of the bench counted other pages for {name}")
        found[name] = {field: one[field] for field in COUNTS}
        tables = one["pmd_tables"] + one["pte_tables"]
        found[name] |= {"ram_bytes_per_gib": one["ram_pages"] * PAGE, "table_bytes_per_gib": tables * PAGE,
                        "device_bytes_per_gib": one["device_pages"] * PAGE}
        for clock, log in logs.items():
            for work in ("populate", "free"):
                found[name][f"{work}_{clock}"] = round(log[name][f"{work}_ns"] / SECTIONS, 1)
                found[name][f"{work}_{clock}_spread"] = log[name][f"{work}_spread"]
    return found


def unsteady(measured):
    """A line for each measurement whose repetitions do not agree."""
    for kernel, memories in measured.items():
        for name, one in memories.items():
            for work in ("populate", "free"):
                more = one.get(f"{work}_instructions_spread", 0)
                if more > SPREAD:
                    yield (f"unsteady: {kernel}, {MEMORIES[name]}: in half of the repetitions, to {work} a section "
                           f"takes {more} instructions more than at least")


def misnamed(measured):
    """A line for each measurement that is not of the mappings that its name says."""
    for kernel, memories in measured.items():
        for name, one in memories.items():
            if "error" not in one and (one["pmd"], one["pte"]) != LAYOUTS[name]:
                yield (f"{kernel}, {MEMORIES[name]}: {one['pmd']} PMD leaves and {one['pte']} PTEs, "
                       "where there should be {} and {}".format(*LAYOUTS[name]))


def ratio(measured, name, key):
    """patched / unpatched, or None."""
    old, new = (measured[kernel][name].get(key) for kernel in KERNELS)
    return round(new / old, 3) if old and new is not None else None


def compare(measured, title, columns, scale=1, ratios=False):
    """Lines of a table: memories by `columns` {key: heading}, each for both kernels; values are divided by `scale`."""
    under = [*KERNELS, "ratio"] if ratios else [*KERNELS]
    rows = [[title, *(word for heading in columns.values() for word in (heading, *[""] * (len(under) - 1)))],
            ["", *under * len(columns)]]
    for name, text in MEMORIES.items():
        row = [text]
        for key in columns:
            values = [measured[kernel][name].get(key) for kernel in KERNELS]
            row += ["-" if value is None else f"{value / scale:.0f}" for value in values]
            part = ratio(measured, name, key)
            row += ["-" if part is None else f"{part:.3f}"] if ratios else []
        rows.append(row)
    return table(rows)


def tables(measured):
    """Lines of all tables."""
    yield from compare(measured, "a section, instructions", {
        "populate_instructions": "populate", "free_instructions": "free"}, ratios=True)
    yield ""
    yield from compare(measured, "a section, ns", {"populate_ns": "populate", "free_ns": "free"}, ratios=True)
    yield ""
    yield from compare(measured, "a GiB described, KiB", {
        "ram_bytes_per_gib": "System RAM", "table_bytes_per_gib": "page tables",
        "device_bytes_per_gib": "device memory"}, scale=1024)
    yield ""
    yield from compare(measured, "a GiB described, entries", {"pmd": "PMD leaves", "pte": "PTEs"})


def measure(kernel, source, env):
    """(Work, {memory: {...}}) of one kernel."""
    out = OUT / "bench" / kernel
    plain = worktree.prepare(*source, patched=kernel == "patched")
    work = worktree.prepare(*source, patched=kernel == "patched", overlay=overlay(plain))
    kunit = guests.Kunit(work, {(env["qemu"], "tcg")})     # KVM counts no instructions
    out.mkdir(parents=True)
    try:
        guests.build(kunit, work, env, out / "build.txt")
    except guests.BuildFailure as failure:
        raise Stop(f"the {kernel} kernel does not build: {failure.args[0][0]}") from None
    logs = {}
    for clock, boot in CLOCKS.items():
        (out / clock).mkdir()
        (out / clock / "kunit.txt").touch()
        one = {**env, "name": f"{kernel} kernel for {clock}", **{key: env[key] + more for key, more in boot.items()}}
        judged, _ = guests.guest(kunit, work, one, "", out / clock)
        log = out / clock / "ktap.log"
        if judged.status != verdict.PASS:
            raise Stop(f"the bench of the {kernel} kernel failed: {'; '.join(judged.reasons)}; see {log}")
        logs[clock] = parse(log.read_text(encoding="utf-8", errors="replace"))
    return work, merge(logs)


def main():
    start, started = time.monotonic(), datetime.datetime.now(datetime.timezone.utc)
    source = os.environ.get("BASE") or None, os.environ.get("KDIR") or None
    if len(sys.argv) > 1:
        raise Stop(f"bench.py takes no arguments: {sys.argv[1]}")
    hold(str(OUT))
    shutil.rmtree(OUT / "bench", ignore_errors=True)
    (OUT / "bench.json").unlink(missing_ok=True)
    env = environment(environments.load())
    prereq.ensure([env])
    measured = {}
    for kernel in KERNELS:
        work, measured[kernel] = measure(kernel, source, env)
    keys = [f"{work}_{clock}" for work in ("populate", "free") for clock in CLOCKS]
    keys += ["ram_bytes_per_gib", "table_bytes_per_gib", "device_bytes_per_gib"]
    write(OUT / "bench.json", json.dumps({
        "schema": SCHEMA, "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - start, 1), "environment": ENVIRONMENT, "sections": SECTIONS,
        "base": {"name": work.base, "version": work.version, "source": work.description, "why": work.why},
        "series": {"patches": work.patches}, "compiler": prereq.compiler(env), "kernels": measured,
        "ratios": {name: {key: ratio(measured, name, key) for key in keys} for name in MEMORIES},
    }, indent=1) + "\n")
    say("", *tables(measured), "", *unsteady(measured))
    say(f"Linux {work.version} and {len(work.patches)} patches; details in {OUT / 'bench.json'}")
    if wrong := [*misnamed(measured)]:
        raise Stop(f"not the mappings that were to be measured: {'; '.join(wrong)}")
    return 0


if __name__ == "__main__":
    run_main(main)
