# SPDX-License-Identifier: GPL-2.0-only
"""What a guest's log says, as the kernel tree's own kunit_parser reads it, and whether that is enough.

A green verdict needs more than kunit.py asks for: every expected suite ran, exactly the
expected cases were skipped, and the kernel complained of nothing, not even where all cases passed.
"""

import dataclasses
import fnmatch
import importlib
import inspect
import re
import sys

from common import printing

PASS, FAIL, SKIP, ERROR, NONE = "PASS", "FAIL", "SKIP", "ERROR", "-"    # ERROR: it never ended

# `[    0.123456] `, with the caller column of CONFIG_PRINTK_CALLER if there is one.
STAMP = re.compile(r"^(?:<\d+>)?\[ *(\d+\.\d+)\](?:\[ *[TC]\d+\])? ?")
MACHINE = re.compile(r"# \w+: (pages of \d+ bytes, struct page of .* levels)\r?$", re.M)     # vmt_suite_init() prints it
KTAP = re.compile(r" *(?:KTAP version \d+$|# Subtest: |1\.\.\d|(ok|not ok) \d+)")

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
    """A suite, a case or a parameter row."""
    name: str
    status: str
    rows: list
    total: int                  # of its rows, with those that are missing
    notes: list                 # its diagnostic lines
    comment: str                # why it was skipped
    seconds: float              # of guest time, None where the log has no time stamps

    def leaves(self, path=()):
        """(path, node) of everything below that has no rows itself."""
        path = (*path, self.name)
        return [leaf for row in self.rows for leaf in row.leaves(path)] if self.rows else [(path, self)]


@dataclasses.dataclass
class Log:
    """A parsed guest log."""
    suites: list
    faults: list                # how its KTAP is wrong
    trouble: list               # kernel complaints


@dataclasses.dataclass
class Verdict:
    """`status` is PASS, FAIL or NONE (the filter matched nothing here)."""
    status: str
    reasons: list
    suites: list

    def cases(self):
        """(suite, case) pairs of nodes."""
        return [(suite, case) for suite in self.suites for case in suite.rows]

    def count(self, *statuses):
        return sum(case.status in statuses for _, case in self.cases())

    def passed(self, name):
        """`passed/total` cases of the suite `name`, or `-` if it did not run or was skipped."""
        suite = next((suite for suite in self.suites if suite.name == name), None)
        return f"{sum(case.status == PASS for case in suite.rows)}/{suite.total}" if suite and suite.total else "-"


def lines(text):
    """(seconds of guest time or None, message) of each line of a log."""
    for raw in text.split("\n"):      # not splitlines(): a guest may print any control character
        stamp = STAMP.match(raw)
        yield float(stamp[1]) if stamp else None, (raw[stamp.end():] if stamp else raw).rstrip()


def complaints(text):
    """The lines of a log in which the kernel complains, what says most first."""
    return sorted((line.strip() for _, line in lines(text) if TROUBLE.match(line)), key=lambda line: line.startswith("-"))


class Printer:
    """What kunit_parser prints to: keeps the errors."""
    def __init__(self):
        self.errors = []

    def print_with_timestamp(self, message):
        kind, _, text = message.partition(" Test: ")
        if kind == "[ERROR]":
            self.errors.append(text.splitlines()[0])

    red = yellow = green = staticmethod(lambda text: text)
    color_len = staticmethod(lambda: 0)


def kunit_parser(kernel):
    """The module of the kernel tree at `kernel`."""
    if (tool := f"{kernel}/tools/testing/kunit") not in sys.path:
        sys.path.insert(0, tool)
    return importlib.import_module("kunit_parser")


def parse(text, kernel):
    """Log of a guest's raw output; `kernel` is the path of a kernel tree, whose kunit_parser is used.

    Each module that is loaded prints a document of its own.
    """
    parser, printer = kunit_parser(kernel), Printer()
    documents, durations, last = [[]], [], None
    for now, line in lines(text):
        if line.startswith("KTAP version "):
            documents.append([])
        documents[-1].append(line)
        if match := KTAP.match(line):
            if match[1]:
                durations.append(None if None in (now, last) else now - last)
            last = now
    with printing:
        parser.stdout = printer     # up to 6.12 it takes none
        words = [printer][:len(inspect.signature(parser.parse_run_tests).parameters) - 1]
        found = [parser.parse_run_tests(document, *words) for document in documents[1:] or documents]
    status = {"SUCCESS": PASS, "SKIPPED": SKIP, "TEST_CRASHED": ERROR}

    def case(test):
        rows = [case(row) for row in test.subtests if row.name]     # a missing one has none
        seconds = durations.pop(0) if durations else None       # its result line comes after those of its rows
        if rows:
            seconds = None if None in [row.seconds for row in rows] else sum(row.seconds for row in rows)
        own = status.get(test.status.name, FAIL)
        bad = own == PASS and any(row.status in (FAIL, ERROR) for row in rows)
        return Case(test.name, FAIL if bad else own, rows, len(test.subtests), test.log, getattr(test, "skip_reason", ""),
                    None if seconds is None else round(seconds, 6))
    suites = [case(test) for main in found for test in main.subtests if test.name]
    return Log(suites, list(dict.fromkeys(printer.errors)), complaints(text))


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


def judge(text, kernel, exit_status, promised, skips=(), filter_glob="", hang="", machine=""):
    """Verdict of one environment's run.

    `text` is the guest's raw log, `kernel` its source, `exit_status` kunit.py's, `promised` the suites that must have
    run, `skips` globs of the cases that must not, `hang` says how the time limit was hit, if it was. `machine` is a glob of
    what the suites of memmap print about the machine.
    """
    log = parse(text, kernel)
    suites = log.suites
    if filter_glob and log.faults == ["main: 0 tests run!"] and not (log.trouble or hang):
        return Verdict(NONE, [f"FILTER '{filter_glob}' matches no case"], [])
    bad = [f"{suite.name}.{case.name}" for suite in suites for case in suite.rows if case.status == FAIL]
    bad += [suite.name for suite in suites if suite.status == FAIL and not any(case.status == FAIL for case in suite.rows)]
    reasons = [hang] if hang else []
    if bad:
        reasons.append(f"failed: {', '.join(bad)}")
    if log.trouble:
        reasons.append(f"kernel complaint: {log.trouble[0]}")
    reasons += log.faults
    if not reasons:
        for name in promised:
            suite = next((suite for suite in suites if suite.name == name), None)
            glob, dot, _ = filter_glob.partition(".")
            # With a case in the filter only kunit knows which suites have one that matches.
            if filter_glob and (dot or not fnmatch.fnmatchcase(name, glob)):
                continue
            if not suite:
                reasons.append(f"suite {name} did not run")
            elif not any(case.status == PASS for case in suite.rows):
                reasons.append(f"suite {name}: every case was skipped")
        if not any(case.status == PASS for suite in suites for case in suite.rows):
            reasons.append("every case was skipped")
        reasons += wrong_skips(suites, skips, filter_glob)
        said = set(MACHINE.findall(text))
        if machine and not filter_glob and not (said and all(fnmatch.fnmatchcase(one, machine) for one in said)):
            reasons.append(f"the guest has {' and '.join(sorted(said)) or 'printed nothing'}, not {machine}")
    if not reasons and exit_status:
        reasons.append(f"kunit.py exited with {exit_status} although all cases passed")
    return Verdict(FAIL if reasons else PASS, reasons, suites)
