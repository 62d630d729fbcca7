# SPDX-License-Identifier: GPL-2.0-only
"""What a guest's log, kunit.py's JSON and its exit status really say.

    python3 tools/verdict.py LOG        print the cases of a recorded log and what is wrong with it

The log is parsed here independently of kunit.py, and the two must agree:
a green verdict needs every planned suite and case to be there, no case skipped
that should run, and a log without a kernel complaint even where all cases passed.
"""

import dataclasses
import fnmatch
import re
import sys
from pathlib import Path

from common import run_main

PASS, FAIL, SKIP, ERROR, NONE = "PASS", "FAIL", "SKIP", "ERROR", "-"    # ERROR: it never ended

# `[    0.123456] `, with the caller column of CONFIG_PRINTK_CALLER if there is one.
STAMP = re.compile(r"^(?:<\d+>)?\[ *(\d+\.\d+)\](?:\[ *[TC]\d+\])? ?")
KTAP = re.compile(r"^( *)(?:(KTAP version \d+)$|# Subtest: (.+)|1\.\.(\d+)|"
                  r"(ok|not ok) (\d+)(?: -)? ?([^#]*?)(?: *# ?(SKIP)?(.*))?$)")

# Only the start of a message counts: cases may print these words in their diagnostics.
TROUBLE = re.compile(
    r"^-+\[ cut here \]-+"
    r"|^(?:[\w-]+: )?(?:WARNING|BUG): "
    r"|^(?:[\w-]+: )?INFO: (?:task |possible |suspicious |rcu|trying to register|lockdep|inconsistent |HARDIRQ|SOFTIRQ)"
    r"|^(?:.*: )?kernel BUG at |^(?:Internal error: )?Oops\b|^(?:.*: )?Oops: |^Kernel panic"
    r"|^(?:UBSAN|KASAN|KCSAN|KMSAN|KFENCE): |^kmemleak: .*suspicious|^rcu:.*(?:stall|self-detected)"
    r"|^general protection fault|^Unable to handle kernel|^(?:.*: )?(?:refcount_t: |list_(?:add|del) corruption)"
    r"|^Kernel attempted to |^Segfault with no mm|^stack segment|^invalid opcode|^double fault"
    r"|^(?:Bad page|Bad rss-counter|page dumped because)|^Call Trace:")


@dataclasses.dataclass
class Case:
    """A suite, a case or a parameter row: a node of the KTAP tree."""
    name: str
    start: float = None         # seconds of guest time
    end: float = None
    status: str = ERROR
    comment: str = ""           # behind the # of its result line, without SKIP
    plan: int = None
    rows: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)   # its diagnostic lines

    @property
    def seconds(self):
        return None if self.start is None or self.end is None else round(self.end - self.start, 6)

    def leaves(self, path=()):
        """(path, node) of everything below that has no rows itself."""
        path = (*path, self.name)
        return [leaf for row in self.rows for leaf in row.leaves(path)] if self.rows else [(path, self)]


@dataclasses.dataclass
class Log:
    """A parsed guest log."""
    suites: list
    plan: int                   # suites that the executor announced, None without KTAP
    faults: list                # how its structure is wrong
    trouble: list               # kernel complaints
    lines: list                 # without time stamps


@dataclasses.dataclass
class Verdict:
    """`status` is PASS, FAIL or NONE (the filter matched nothing here)."""
    status: str
    reasons: list
    suites: list

    def cases(self):
        """(suite, case) pairs of nodes."""
        return [(suite, case) for suite in self.suites for case in suite.rows]

    def count(self, status):
        return sum(case.status in status for _, case in self.cases())


def parse(text):
    """Log of the raw output of a guest."""
    root = Case("")
    stack = [(-4, root)]        # (indentation of its result line, node)
    log = Log(root.rows, None, [], [], [])
    notes, last, began = [], None, False
    for raw in text.split("\n"):      # not splitlines(): a guest may print any control character
        stamp = STAMP.match(raw)
        now = float(stamp.group(1)) if stamp else None
        line = raw[stamp.end():].rstrip() if stamp else raw.rstrip()
        log.lines.append(line)
        if TROUBLE.match(line):
            log.trouble.append(line.strip())
        match = KTAP.match(line)
        if not match or not began and not match.group(2):
            notes.append(line)
            continue
        began = True
        indent = len(match.group(1))
        _, version, subtest, plan, result, number, name, skip, comment = match.groups()
        if version:
            continue
        if subtest:
            node = Case(subtest, start=now)
            stack.append((indent - 4, node))
            last, notes = now, []
        elif plan:
            if stack[-1][0] + 4 == indent:
                stack[-1][1].plan = int(plan)
            else:
                log.faults.append(f"a plan where none belongs: {line.strip()}")
            last, notes = now, []
        else:
            if stack[-1][0] == indent:
                node = stack.pop()[1]
                close(log, node, name, indent)
            else:
                node = Case(name, start=last)
            parent = stack[-1]
            if parent[0] + 4 != indent:
                log.faults.append(f"a result where none belongs: {line.strip()}")
            if int(number) != len(parent[1].rows) + 1:
                log.faults.append(f"result {number} of {name} comes as number {len(parent[1].rows) + 1}")
            node.status = FAIL if result == "not ok" else SKIP if skip else PASS
            node.end, node.notes, node.comment = now, node.notes + notes, (comment or "").strip()
            parent[1].rows.append(node)
            last, notes = now, []
    while len(stack) > 1:       # what was running when the log ended
        node = stack.pop()[1]
        node.notes += notes
        notes = []
        stack[-1][1].rows.append(node)
        log.faults.append(f"the log ends inside {node.name}, after {len(node.rows)} of {node.plan or '?'}")
    log.plan = root.plan
    if not began:
        log.faults.append("no KTAP output: the kernel ran no tests")
    elif root.plan is None:
        log.faults.append("the log ends before the KTAP plan")
    elif root.plan != len(root.rows):
        log.faults.append(f"{len(root.rows)} of {root.plan} planned suites ran")
    return log


def close(log, node, name, indent):
    """Check a node with rows when its result line comes."""
    if node.name != name:
        log.faults.append(f"the result of {node.name} carries the name {name}")
    if node.plan is None and not indent:        # a case may list its parameters without a plan
        log.faults.append(f"suite {name} has no plan")
    elif node.plan is not None and node.plan != len(node.rows):
        log.faults.append(f"{len(node.rows)} of {node.plan} planned cases of {name} ran")


def json_leaves(group, path=()):
    """(path, status) of all cases in kunit.py's JSON."""
    found = [((*path, case["name"]), case["status"]) for case in group["test_cases"]]
    for sub in group["sub_groups"]:
        found += json_leaves(sub, (*path, sub["name"]))
    return found


def wrong_skips(suites, skips, filter_glob):
    """What says that the cases skipped are not exactly those that match `skips`."""
    ran = {"/".join([".".join(path[:2]), *path[2:]]): node for suite in suites for path, node in suite.leaves()}
    expected = {glob: {name for name in ran if any(fnmatch.fnmatchcase(whole, glob)
                                                   for whole in (name, name.partition("/")[0]))} for glob in skips}
    for name, node in ran.items():
        globs = [glob for glob, names in expected.items() if name in names]
        if node.status == SKIP and not globs:
            yield f"skipped, but not expected to be: {name} ({node.comment or 'no reason given'})"
        elif node.status != SKIP and globs:
            yield f"not skipped, but expected to be by '{globs[0]}': {name}"
    for glob, names in expected.items():
        if not names and not filter_glob:
            yield f"skips has '{glob}', which no case matches"


def judge(text, results, exit_status, promised, skips=(), filter_glob="", hang=""):
    """Verdict of one environment's run.

    `text` is the guest's raw log, `results` kunit.py's JSON (decoded, None if
    there is none), `promised` the suites that must have run, `skips` globs of the
    cases that must not, `hang` says how the time limit was hit, if it was.
    """
    log = parse(text)
    suites = log.suites
    reasons = [hang] if hang else []
    if log.plan == 0 and not suites and not log.trouble and not hang:
        if filter_glob:
            return Verdict(NONE, [f"FILTER '{filter_glob}' matches no case"], [])
        reasons.append("the kernel has no tests")
    bad = [f"{suite.name}.{case.name}" for suite in suites for case in suite.rows if case.status == FAIL]
    bad += [suite.name for suite in suites
            if suite.status == FAIL and not any(case.status == FAIL for case in suite.rows)]
    for suite in suites:
        for case in suite.rows:
            if case.status == PASS and any(row.status == FAIL for row in case.rows):
                reasons.append(f"{suite.name}.{case.name} passed with a failed parameter")
        if suite.status == PASS and any(case.status == FAIL for case in suite.rows):
            reasons.append(f"{suite.name} passed with a failed case")
    if bad:
        reasons.append(f"failed: {', '.join(bad)}")
    if log.trouble:
        reasons.append(f"kernel complaint: {next((t for t in log.trouble if not t.startswith('-')), log.trouble[0])}")
    reasons += log.faults
    cases = [case for suite in suites for case in suite.rows]
    if suites and not reasons:
        if not any(case.status == PASS for case in cases):
            reasons.append("every case was skipped" if cases else "no case ran")
        glob, dot, _ = filter_glob.partition(".")
        for name in promised:
            suite = next((suite for suite in suites if suite.name == name), None)
            # With a case in the filter only kunit knows which suites have one that matches.
            if filter_glob and (dot or not fnmatch.fnmatchcase(name, glob)):
                continue
            if not suite:
                reasons.append(f"suite {name} did not run")
            elif not any(case.status == PASS for case in suite.rows):
                reasons.append(f"suite {name}: every case was skipped")
        reasons += wrong_skips(suites, skips, filter_glob)
    if not reasons:
        ours = sorted((path, node.status) for suite in suites for path, node in suite.leaves())
        if results is None:
            reasons.append("kunit.py wrote no JSON")
        elif sorted(json_leaves(results)) != ours:
            reasons.append("kunit.py's JSON and the log disagree")
        elif exit_status:
            reasons.append(f"kunit.py exited with {exit_status} although all cases passed")
    return Verdict(FAIL if reasons else PASS, reasons, suites)


def main():
    log = parse(Path(sys.argv[1]).read_text(encoding="utf-8", errors="replace"))
    for suite in log.suites:
        for case in suite.rows:
            print(f"{case.status:5} {suite.name}.{case.name}")
    for line in log.faults + log.trouble:
        print(f"! {line}")
    return 1 if log.faults or log.trouble else 0


if __name__ == "__main__":
    run_main(main)
