# SPDX-License-Identifier: GPL-2.0-only
"""What all tools share: paths, one-line errors, progress, locks, child processes.

Every program is `run_main(main)`: it ends with 0, with 1 and one `error: ...`
line (`Stop`), or with 128 + signal number, and leaves no process behind.
"""

import contextlib
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
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The tests point these two elsewhere; nobody else should.
SERIES = Path(os.environ.get("VMEM_ALTMAP_SERIES") or ROOT).resolve()
OUT = Path(os.environ.get("VMEM_ALTMAP_OUT") or ROOT / "out").resolve()
PATCHES = SERIES / "patches"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").resolve() / "vmem-altmap"

# Below these the repository keeps the kernel files that the series creates.
KERNEL_DIRS = ("Documentation", "arch", "include", "mm")
BASES = ("7.3", "6.12")     # newest first

MARK = "VMEM_ALTMAP_RUN"
TERM_GRACE = 5              # seconds between SIGTERM and SIGKILL: make removes half-written targets


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
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
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


def disk_full(path=None):
    """The line that reports a full disk at `path` (default: the cache)."""
    path = Path(path) if isinstance(path, (str, os.PathLike)) else CACHE
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free >> 20
    return f"disk full: {free} MiB left at {path}; free some space, or set XDG_CACHE_HOME to another disk"


def need_space(path, mib, what):
    """Stop unless `mib` MiB are free at `path`, which need not exist yet."""
    at = Path(path)
    while not at.exists():
        at = at.parent
    free = shutil.disk_usage(at).free >> 20
    if free < mib:
        raise Stop(f"disk full: {what} needs {mib} MiB at {path}, {free} MiB are free; "
                   "free some space, or set XDG_CACHE_HOME to another disk")


def say(text=""):
    """Print one line, after ending a progress line that is still open."""
    Step.newline()
    print(text, flush=True)


class Step:
    """One piece of long work: `text ... 12.3 s` on one line of stdout."""
    open = None

    def __init__(self, text):
        self.text, self.start, self.beats, self.result = text, time.monotonic(), 0, ""

    @staticmethod
    def newline():
        if Step.open:
            print(flush=True)
            Step.open = None

    def show(self, text):
        print(text, end="", flush=True)
        Step.open = self

    def due(self):
        """Whether the next beat() will print."""
        return self.seconds() >= 20 * (self.beats + 1)

    def beat(self, note=""):
        """Call often: shows every 20 s that the work goes on."""
        if self.due():
            self.beats += 1
            if Step.open is not self:
                Step.newline()
                self.show(f"  {self.text} ...")
            self.show(f" [{self.seconds():.0f} s{', ' + note if note else ''}]")

    def seconds(self):
        return time.monotonic() - self.start


@contextlib.contextmanager
def step(text):
    """Print `text`, and its duration at the end; yields the Step.

    Set `.result` for a word to print after the duration.
    """
    this = Step(text)
    Step.newline()
    this.show(f"{text} ...")
    try:
        yield this
    except BaseException:
        Step.newline()
        raise
    if Step.open is not this:
        Step.newline()
        this.show(f"{text}:")
    this.show(f" {this.seconds():.1f} s{', ' + this.result if this.result else ''}")
    Step.newline()


@contextlib.contextmanager
def lock(name):
    """Hold the cache-wide lock `name`; says whom it waits for."""
    with acquire(name):
        yield


def hold(name):
    """Take the lock `name` until this process ends; again is nothing."""
    if name not in held:
        held[name] = acquire(name)


held = {}


def acquire(name):
    """The open, locked file of `name`: closing it gives the lock back."""
    path = CACHE / "locks" / name.replace("/", "-")
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a+", encoding="ascii")   # pylint: disable=consider-using-with
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


def marked(mark):
    """Pids of living processes started under `mark` or below it."""
    needle = f"{MARK}={mark}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                with open(f"/proc/{entry}/environ", "rb") as file:
                    if any(item.startswith(needle) for item in file.read().split(b"\0")):
                        found.append(int(entry))
    return found


def kill_marked(mark):
    """End every process of `mark`, whatever session it moved to; UML and QEMU do."""
    deferred = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, deferred)      # a second Ctrl-C must not stop the cleaning
    try:
        start = time.monotonic()
        termed = set()
        while pids := marked(mark):
            late = time.monotonic() - start > TERM_GRACE
            for pid in pids:
                if late or pid not in termed:
                    termed.add(pid)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
            time.sleep(0.02)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, deferred)


@contextlib.contextmanager
def spawn(command, **popen):
    """Popen `command` in its own session without stdin; nothing of it outlives the block."""
    # The mark of a nested run starts with the outer mark, so killing the outer run finds it.
    mark = os.environ.get(MARK, "") + "/" + uuid.uuid4().hex[:12]
    environ = dict(popen.pop("env", None) or os.environ, **{MARK: mark})
    popen.setdefault("stdin", subprocess.DEVNULL)
    process = None
    try:
        process = subprocess.Popen([str(word) for word in command], env=environ,
                                   start_new_session=True, **popen)
        process.mark = mark
        yield process
    finally:
        # A signal may come before Popen returns; its child is there then, all the same.
        # A child that has exec'ed by now carries the mark, so the scan finds all there is.
        if process:
            reaper = threading.Thread(target=process.wait, daemon=True)
            reaper.start()      # else the killed child stays a zombie, which has no environ: harmless, but wait
        kill_marked(mark)
        if process:
            reaper.join()


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
