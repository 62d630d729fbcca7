# SPDX-License-Identifier: GPL-2.0-only
"""What all tools share: paths, one-line errors, progress, locks, child processes, git, tables.

Every program is `run_main(main)`: it ends with 0, with 1 and one `error: ...`
line (`Stop`), or with 128 + signal number, and leaves no process behind.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The tests point these two elsewhere; nobody else should.
SERIES = Path(os.environ.get("VMEM_ALTMAP_SERIES") or ROOT).resolve()
OUT = Path(os.environ.get("VMEM_ALTMAP_OUT") or ROOT / "out").resolve()
PATCHES = SERIES / "patches"
CACHE = Path(os.path.realpath(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")) / "vmem-altmap"

# Below these the repository keeps the kernel files that the series creates.
KERNEL_DIRS = ("Documentation", "arch", "include", "mm")
BASES = ("7.3", "6.12")     # newest first

TERM_GRACE = 5              # seconds between SIGTERM and SIGKILL: make removes half-written targets
FULL = (errno.ENOSPC, errno.EDQUOT)
PR_SET_CHILD_SUBREAPER = 36     # <linux/prctl.h>


def patch_files(directory):
    """The patches below `directory`, patches/<base>, in the order of `git am patches/<base>/*/*.patch`."""
    return sorted(Path(directory).glob("*/*.patch"))


class Stop(Exception):
    """The tool cannot go on; the text is the one line the user sees."""


class Signalled(KeyboardInterrupt):
    """SIGTERM or SIGHUP; unwinds like Ctrl-C. `args[0]` is the signal number."""


def run_main(main):
    """Run `main()` as a program and exit with what it returns (None is 0)."""
    def raise_signal(number, _frame):
        raise Signalled(number)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, raise_signal)
    signal.signal(signal.SIGINT, signal.default_int_handler)    # make may run us with SIGINT ignored
    try:
        code = main() or 0
        sys.stdout.flush()
    except Stop as stop:
        code = fail(stop)
    except KeyboardInterrupt as interrupt:
        fail("interrupted")
        code = 128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)    # the exit flush must not complain again
        code = 1
    except OSError as error:
        if error.errno in FULL:
            code = fail(disk_full(error.filename))
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            code = fail(f"{error.strerror}: {error.filename}")
        else:
            raise
    sys.exit(code)


def fail(text):
    """Print `error: text` on stderr and return the exit code for it."""
    Step.newline()
    print(f"error: {text}", file=sys.stderr, flush=True)
    return 1


def free_mib(path):
    """(the nearest existing directory of `path`, MiB free there)."""
    while not path.exists():
        path = path.parent
    return path, shutil.disk_usage(path).free >> 20


def disk_full(path=None):
    """The line that reports a full disk at `path` (default: the cache)."""
    at, free = free_mib(Path(path) if isinstance(path, (str, os.PathLike)) else CACHE)
    return f"disk full: {free} MiB left at {at}; free some space, or set XDG_CACHE_HOME to another disk"


def need_space(path, mib, what):
    """Stop unless `mib` MiB are free at `path`, which need not exist yet."""
    free = free_mib(Path(path))[1]
    if free < mib:
        raise Stop(f"disk full: {what} needs {mib} MiB at {path}, {free} MiB are free; "
                   "free some space, or set XDG_CACHE_HOME to another disk")


# Output

printing = threading.RLock()    # held while lines are printed that belong together


def say(*lines):
    """Print lines that belong together, after ending a progress line that is still open."""
    with printing:
        Step.newline()
        print(*lines, sep="\n", flush=True)


def table(rows, left=(0,)):
    """Lines of `rows` of words in columns, which are aligned to the right except for the columns `left`."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    left = {column % len(widths) for column in left}
    return ["  ".join(word.ljust(width) if column in left else word.rjust(width)
                      for column, (word, width) in enumerate(zip(row, widths))).rstrip() for row in rows]


class Step:
    """One piece of long work: `text ... 12.3 s` on one line of stdout."""
    open = None

    def __init__(self, text):
        self.text, self.start, self.beats, self.result = text, time.monotonic(), 0, ""

    @staticmethod
    def newline():
        with printing:
            if Step.open:
                print(flush=True)
                Step.open = None

    def show(self, text, again):
        """Append `text` to the line of this step; where another line came in between, begin one with `again`."""
        with printing:
            if Step.open is not self:
                Step.newline()
                text = again + text
            print(text, end="", flush=True)
            Step.open = self

    def due(self):
        """Whether the next beat() will print."""
        return self.seconds() >= 20 * (self.beats + 1)

    def beat(self, note=""):
        """Call often: shows every 20 s that the work goes on."""
        if self.due():
            self.beats += 1
            self.show(f" [{self.seconds():.0f} s{', ' + note if note else ''}]", f"  {self.text} ...")

    def seconds(self):
        return time.monotonic() - self.start


@contextlib.contextmanager
def step(text):
    """Print `text`, and its duration at the end; yields the Step.

    Set `.result` for a word to print after the duration.
    """
    this = Step(text)
    this.show("", f"{text} ...")
    try:
        yield this
    except BaseException:
        Step.newline()
        raise
    with printing:
        this.show(f" {this.seconds():.1f} s{', ' + this.result if this.result else ''}", f"{text}:")
        Step.newline()


# Files

def hold(name):
    """Take the lock `name` until this process ends; again is nothing."""
    if name not in held:
        held[name] = lock(name)


held = {}


def lock(name):
    """Take the cache-wide lock `name`, and say whom it waits for; returns a file, for `with`: closing it gives the lock back."""
    path = CACHE / "locks" / name.replace("/", "-")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="ascii")   # pylint: disable=consider-using-with
    except OSError as error:
        if error.errno in FULL:
            raise
        raise Stop(f"cannot use the cache {CACHE} ({error.strerror}: {error.filename}); "
                   "set XDG_CACHE_HOME to a directory that you can write to") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        say(f"waiting for {name}, in use by pid {file.read().strip() or '?'}")
        fcntl.flock(file, fcntl.LOCK_EX)
    with contextlib.suppress(OSError):      # the pid is information only; a full disk may refuse it
        file.truncate(0)
        os.write(file.fileno(), str(os.getpid()).encode())
    return file


def write(path, data, mode=None):
    """Replace the file `path` by `data` (str or bytes) atomically, with permissions `mode`.

    The old inode is never written to: it may be a hard link into a base tree.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temp.write_bytes(data.encode() if isinstance(data, str) else data)
        if mode is not None:
            temp.chmod(mode)
        os.replace(temp, path)
    finally:
        temp.unlink(missing_ok=True)


# Child processes

running = set()                 # the pids of all children in spawn()
starting = threading.Lock()     # held while one becomes a member
stopping = threading.Event()    # tells threads to end what they wait for


def offspring(process):
    """Pids of what `process` has started and is alive, and of what other ended children of ours left behind.

    As a subreaper we become the parent of what lost its own. Sessions say little: UML and QEMU begin new ones.
    """
    parents, sessions = {}, {}
    with starting:
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
                state, parent, _, session, *_ = file.read().rpartition(b")")[2].split()
                if state != b"Z":
                    parents[pid], sessions[pid] = int(parent), int(session)
        # A child in our own session belongs to whoever in this program waits for it.
        found = {pid for pid, parent in parents.items()
                 if parent == os.getpid() and pid not in running and sessions[pid] != os.getsid(0)}
    tops = found | ({process.pid} if process else set())
    while more := {pid for pid, parent in parents.items() if parent in tops} - tops:
        tops |= more
    return tops - ({process.pid} if process else set())


def kill(pids, number=signal.SIGKILL):
    """Send the signal `number` to those of `pids` that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def end(process):
    """End `process`, which may be None, and its offspring: SIGTERM, after TERM_GRACE seconds SIGKILL."""
    deferred = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, deferred)      # a second Ctrl-C must not stop the cleaning
    try:
        start, termed = time.monotonic(), set()
        while pids := offspring(process) | ({process.pid} if process and process.poll() is None else set()):
            if time.monotonic() - start > TERM_GRACE:
                kill(pids)
            else:
                kill(pids - termed, signal.SIGTERM)
                termed |= pids
            time.sleep(0.02)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, deferred)


@contextlib.contextmanager
def spawn(command, **popen):
    """Popen `command` in its own session without stdin; nothing of it outlives the block."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    process = None
    try:
        with starting:
            process = subprocess.Popen([str(word) for word in command], start_new_session=True,
                                       **{"stdin": subprocess.DEVNULL, **popen})
            running.add(process.pid)
        yield process
    finally:
        end(process)
        running.discard(process and process.pid)


def run(command, check=True, timeout=None, beat=None, **popen):
    """Run `command` to its end; returns CompletedProcess with text `stdout` (stderr is in it).

    With `check`, failure is a Stop with the command's last line. `timeout` in
    seconds is always a Stop. `beat`, a Step, shows progress meanwhile.
    """
    start = time.monotonic()
    # A file, not a pipe: a daemon that keeps the pipe open would keep us waiting for its end.
    with tempfile.TemporaryFile() as captured:
        popen = {"stdout": captured, "stderr": subprocess.STDOUT, **popen}
        try:
            with spawn(command, **popen) as process:
                while process.poll() is None:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=1)
                    if stopping.is_set():
                        raise Stop("interrupted")
                    if beat:
                        beat.beat()
                    if timeout and time.monotonic() - start > timeout:
                        raise Stop(f"no answer in {timeout} s: {' '.join(map(str, command))}")
        except FileNotFoundError as error:
            raise Stop(f"command not found: {error.filename}") from None
        captured.seek(0)
        output = captured.read().decode(errors="replace")
    if check and process.returncode:
        if "No space left on device" in output:
            raise Stop(disk_full(popen.get("cwd")))
        last = (output.strip().splitlines() or ["no output"])[-1]
        raise Stop(f"{' '.join(map(str, command[:3]))} failed ({process.returncode}): {last}")
    return subprocess.CompletedProcess(command, process.returncode, output)


# git

# User and system configuration are not read at all, and a tree's own must start nothing and change no output.
GIT = ("git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.attributesFile=/dev/null",
       "-c", "core.excludesFile=/dev/null", "-c", "core.quotePath=false", "-c", "core.autocrlf=false", "-c", "gc.auto=0",
       "-c", "commit.gpgSign=false", "-c", "safe.directory=*", "-c", "core.pager=cat", "-c", "init.templateDir=")
GIT_ENV = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1",
           "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C",
           **{f"GIT_{who}_{what}": f"vmem-altmap{end}" for who in ("AUTHOR", "COMMITTER")
              for what, end in (("NAME", ""), ("EMAIL", "@localhost"))}}


def git(*words, cwd, data=None, raw=False, **env):
    """Run git in `cwd` with `data` (bytes) on stdin; returns its stdout as text, or bytes if `raw`. Failure is a Stop."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    # The ceiling: a repository around a plain `cwd` would swallow the paths of a patch.
    ceiling = {"GIT_CEILING_DIRECTORIES": os.path.dirname(os.path.realpath(cwd))}
    try:
        done = subprocess.run([*GIT, *map(str, words)], cwd=cwd, input=data, env=clean | GIT_ENV | ceiling | env,
                              capture_output=True, check=False)
    except FileNotFoundError as error:
        raise Stop(f"git: {error.strerror}: {error.filename}") from None
    if done.returncode:
        lines = (done.stderr + done.stdout).decode(errors="replace").strip().splitlines() or ["failed"]
        best = next((line for line in lines if line.startswith(("error:", "fatal:"))), lines[0])
        raise Stop(f"git {next(w for w in words if w[:1] != '-' and '=' not in w)}: {best.split(': ', 1)[-1]}")
    return done.stdout if raw else done.stdout.decode(errors="surrogateescape")
