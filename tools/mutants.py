# SPDX-License-Identifier: GPL-2.0-only
"""make mutants: does a case fail for each small change of the altmap's code?

    ENV=um,x86_64|all   where to look (default: um and the environments of x86_64)
    FILTER=GLOB         mutants whose name matches, for example 'vmem_altmap_free: *'; without it, those that are listed
                        as equivalent or survivors in tools/mutants.toml are not tried again
    BASE= and KDIR=     the kernel, as for make run

    python3 tools/mutants.py --sample   what make test has time for

Generated mutants (tools/mutate.py) of the functions in tools/mutants.toml are compiled into one kernel for each
build, which selects one by a kernel argument. A guest ends at the first case that fails. Each mutant written by hand
takes a build, and must be killed by exactly the cases that it names. A mutant is

    killed      a case fails, the kernel crashes or complains, a case is skipped, or the guest hits its time limit
    equivalent  no case can see it: listed in tools/mutants.toml, with the reason
    survived    anything else: a case is missing, or it is listed in tools/mutants.toml with the reason why there is none

Results go to out/mutants.json. The kernels are rebuilt without mutants at the end.
"""

import collections
import concurrent.futures
import fnmatch
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time

import environments
import mutate
import run
import verdict
from common import OUT, ROOT, SERIES, Stop, kill, offspring, run_main, running, say, spawn, step, write
from variants import Bench, conclude, edited, load, seen

DATA = "tools/mutants.toml"
HEADER = "linux/vmem_altmap_mutants.h"
SHARED = "include/linux/mm.h"       # a change would rebuild everything: the users get copies of its functions


def generate(work, tables):
    """([Mutant], overlay for worktree.prepare()) of the functions in `tables`."""
    found, files, copies, names = [], {}, "", collections.Counter()
    for path, functions in tables["functions"].items():
        text = (work.path / path).read_text(encoding="utf-8")
        also = {name: [(one["old"], one["new"]) for one in tables["also"] if one["function"] == name] for name in functions}
        parsed = sorted((mutate.Function(path, text, name, tables["ignored"], also[name]) for name in functions),
                        key=lambda function: function.start)
        nodes = [node for function in parsed for node in function.nodes]
        for mutant in mutate.mutants(nodes):
            found.append(mutant)
            mutant.number = len(found)
            names[mutant.name] += 1
            mutant.name += f" ({names[mutant.name]})" if names[mutant.name] > 1 else ""
        if path == SHARED:
            for function in parsed:
                body = mutate.render(text, function.start, function.end, function.nodes)
                copies += body.replace(f"{function.name}(", f"{function.name}_mutants(", 1) + "\n"
                copies += f"#define {function.name} {function.name}_mutants\n"
        else:
            files[path] = mutate.render(text, 0, len(text), nodes)
    added = {(mutant.function, mutant.replaced) for mutant in found if mutant.operator == "also"}
    for one in tables["also"]:
        if (one["function"], one["old"]) not in added:
            raise Stop(f"{DATA}: {one['function']}() has no expression or statement '{one['old']}'")
    users = re.compile(rf"\b({'|'.join(tables['functions'][SHARED])})\(")
    for path in [path for top in ("mm", "arch/x86/mm") for path in (work.path / top).rglob("*.[ch]")]:
        if users.search(text := path.read_text(encoding="utf-8")):
            files.setdefault(str(path.relative_to(work.path)), text)
    for path, text in files.items():
        files[path] = re.sub(r"^#include .*\n", rf"\g<0>#include <{HEADER}>\n", text, count=1, flags=re.M)
    files["mm/vmem_altmap.c"] += f"\n#define MUTANTS {len(found)}\n" + (ROOT / "tools/mutants.c").read_text(encoding="utf-8")
    files["include/" + HEADER] = (ROOT / "tools/mutants.h").read_text(encoding="utf-8").replace("/* copies */", copies)
    return found, {path: text.encode() for path, text in files.items()}


def guest_command(printed, number):
    """The command by which kunit.py started its last guest, according to what it `printed`, with a mutant selected."""
    words = shlex.split(re.findall(r"^Running tests with:\n\$ (.*)$", printed, re.M)[-1])
    at = words.index("-append") + 1 if "-append" in words else None
    return [*words[:at], f"{words[at]} mutant={number}", *words[at + 1:]] if at else [*words, f"mutant={number}"]


def boot(command, environ, cpu, limit):
    """(log up to the first failure, whether a time limit was hit) of a guest; it may take `cpu` seconds of CPU, `limit` in all."""
    lines, late = [], threading.Event()
    with spawn(["prlimit", f"--cpu={cpu}:{cpu + 5}", *command], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
               text=True, errors="replace") as guest:
        timer = threading.Timer(limit, lambda: (late.set(), kill(offspring(guest) | {guest.pid})))
        timer.daemon = True
        timer.start()
        for line in guest.stdout:
            lines.append(line.rstrip("\r\n"))
            if re.match(" *not ok ", verdict.STAMP.sub("", lines[-1])):
                break
        timer.cancel()
    return "\n".join(lines), late.is_set() or guest.returncode == -signal.SIGXCPU


def leaves(log):
    """{suite.case or suite.case/parameter: status} of a verdict.Log."""
    return {"/".join([".".join(path[:2]), *path[2:]]): node.status for suite in log.suites for path, node in suite.leaves()}


def killer(log, late, clean):
    """(kind, what) of the first thing that killed the mutant whose guest left `log`, or None; `clean` are leaves() without."""
    results = leaves(log)
    last = next(reversed(results), "boot")
    complaint = next(iter(log.trouble), "no message")
    for name, status in results.items():
        if status == verdict.FAIL:
            return "case", name
    if late:
        return "time limit", f"after {last}"
    if log.faults:
        return "crash" if results else "boot", f"after {last}: {complaint}"
    if log.trouble:
        return "complaint", complaint
    return next((("skip", name) for name, status in clean.items() if results.get(name) != status), None)


class Guests:
    """Guests of the environment `env`, whose kernel in `work` has all mutants."""

    def __init__(self, bench, work, env):
        self.name, self.environ, self.out = env["name"], bench.kunit.environ, bench.place / env["name"]
        judged, seconds, cpu = bench.build_and_run(work, env, "the kernel with all mutants", self.out)
        if judged.status != verdict.PASS:
            raise Stop(f"{self.name} fails without a mutant: {'; '.join(judged.reasons)}")
        self.printed = (self.out / "kunit.txt").read_text(encoding="utf-8")
        # Other work of the machine stretches the time, but hardly the CPU time.
        self.cpu, self.limit = int(3 * cpu) + 5, 3 * seconds + env["timeout"]
        self.kernel, text = work.path, (self.out / "ktap.log").read_text(encoding="utf-8", errors="replace")
        self.clean = leaves(verdict.parse(text, self.kernel))
        self.reached = {int(found[1]) for _, line in verdict.lines(text) if (found := re.match(r"mutant (\d+) reached$", line))}

    def attempt(self, number):
        """What killed the mutant, None if nothing did or it is not reached."""
        if number not in self.reached:
            return None
        start = time.monotonic()
        for _ in range(2):      # on a busy machine, a guest may complain without a reason
            text, late = boot(guest_command(self.printed, number), self.environ, self.cpu, self.limit)
            found = killer(verdict.parse(text, self.kernel), late, self.clean)
            if not found or found[0] in ("case", "time limit"):
                break
        write(self.out / f"{number}.log", text)
        return found and {"environment": self.name, "kind": found[0], "by": found[1],
                          "seconds": round(time.monotonic() - start, 1)}


def try_generated(mutants, guests, listed, again):
    """A row for each of `mutants`, tried with one of `guests` after the other until killed.

    `listed` is {name: (status, reason)} of those that survive as far as we know; they are only tried if `again`.
    """
    def attempt(mutant):
        status, reason = listed.get(mutant.name, ("survived", None))
        killed = next(filter(None, (one.attempt(mutant.number) for one in guests if again or not reason)), {})
        reached = [one.name for one in guests if mutant.number in one.reached]
        return vars(mutant) | {"reached": reached, "status": "killed" if killed else status, "reason": reason} | killed
    rows = []
    with step(f"try {len(mutants)} mutants") as this, \
            concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        futures = [pool.submit(attempt, mutant) for mutant in mutants]
        try:
            for future in concurrent.futures.as_completed(futures):
                rows.append(row := future.result())
                where = f"{row['file']}:{row['line']}: {row['name']}"
                if row["status"] == "survived" and not row["reason"]:
                    say(f"  survived{'' if row['reached'] else ', not reached'}: {where}")
                elif row["status"] == "killed" and row["reason"]:
                    say(f"  killed by {row['by']}, but listed in {DATA}: {where}")
                this.beat(f"{len(rows)} of {len(mutants)}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            kill(list(running))
            raise
    return sorted(rows, key=lambda row: row["number"])


def rates(rows):
    """{function: counts and kill rate} of the generated mutants."""
    found = {}
    for row in rows:
        one = found.setdefault(row["function"], {"file": row["file"], "killed": 0, "survived": 0, "equivalent": 0})
        one[row["status"]] += 1
    for one in found.values():
        one["rate"] = round(one["killed"] / max(1, one["killed"] + one["survived"]), 3)
    return found


def main():
    tables, sample = load(DATA, SERIES), "--sample" in sys.argv[1:]
    glob = os.environ.get("FILTER", "").strip() or "*"
    given = os.environ.get("ENV", "").strip()
    envs = environments.choose(given or tables["sample" if sample else "default"])
    names = [env["name"] for env in envs]
    (OUT / "mutants.json").unlink(missing_ok=True)
    bench = Bench(envs, "mutants")
    found, overlay = generate(bench.clean, tables)
    listed = {name: (status, entry["reason"]) for status in ("equivalent", "survived") for entry in tables[status]
              for name in entry["mutants"]}
    if unknown := sorted(listed.keys() - {mutant.name for mutant in found}):
        raise Stop(f"{DATA}: no such mutant: {unknown[0]}")
    mutants = [mutant for mutant in found if fnmatch.fnmatchcase(mutant.name, glob) and
               not re.match(tables["outside"], mutant.name)]
    if sample:
        few = [mutant for mutant in mutants if mutant.name not in listed]
        mutants = [mutant for i, mutant in enumerate(few) if mutant.file in tables["um"] or tables["every"] and not i % tables["every"]]
    by_hand = {name: one for name, one in tables["by-hand"].items() if fnmatch.fnmatchcase(name, glob) and
               seen(one).keys() & set(names) and (one.get("sample") or not sample)}
    if not mutants and not by_hand:
        raise Stop(f"FILTER '{glob}' matches no mutant in ENV={','.join(names)}")
    rows = []
    where = [env for env in envs if env["arch"] in ("um", "x86_64")] if mutants else []
    if where:
        work = bench.prepare(overlay)
        guests = [Guests(bench, work, env) for env in where]
        if sample or given:     # what these environments do not reach is for others
            mutants = [mutant for mutant in mutants if any(mutant.number in one.reached for one in guests)]
        rows = try_generated(mutants, guests, listed, glob != "*")
    results = {"functions": rates(rows)}
    rows += bench.try_all("mutant", by_hand, lambda work, name, one: edited(work, f"mutant {name}", [one], DATA))
    bench.restore()
    write(OUT / "mutants.json", json.dumps(results | {"mutants": rows}, indent=1) + "\n")
    return conclude(rows)


if __name__ == "__main__":
    run_main(main)
