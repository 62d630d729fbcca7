# SPDX-License-Identifier: GPL-2.0-only
"""Base kernels: Debian's kernel source packages, unpacked once into the cache.

apt runs on a private state and source list, so that newer suites can be read
without touching the system's. A base is complete or not there at all.
"""

import dataclasses
import functools
import json
import os
import re
import shutil
from pathlib import Path

from common import BASES, CACHE, PATCHES, Stop, disk_full, lock, need_space, patch_files, run, say, step, write

# The first suite with a release of the package wins; small package lists first.
SUITES = {
    "7.3": ("trixie-backports", "sid", "forky", "experimental"),
    "6.12": ("trixie-security", "trixie"),
}
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
NEED_MIB = 2200         # .deb 170, source archive 150, tree 1700, package lists


@dataclasses.dataclass(frozen=True)
class Base:
    """A pristine tree in the cache; usable as a path."""
    base: str           # "7.3"
    version: str        # "7.3.4"
    package: str        # "linux-source-7.3"
    revision: str       # "7.3.4-1~bpo13+1"
    suite: str          # "trixie-backports"
    why: str = ""       # how this one came to be chosen

    @property
    def path(self):
        return CACHE / "base" / self.revision

    def __fspath__(self):
        return str(self.path)

    @property
    def source(self):
        return f"{self.package} {self.revision} ({self.suite})"


class Unreachable(Stop):
    """No answer from the mirror."""


def mirror():
    return os.environ.get("MIRROR") or "http://deb.debian.org/debian"


def supported():
    """Bases with a series, newest first."""
    return [name for name in BASES if patch_files(PATCHES / name)]


def known(name):
    """`name`, which BASE= gives, if there is such a base."""
    if name not in BASES:
        raise Stop(f"unknown base {name}: BASE is one of {', '.join(BASES)}")
    return name


@functools.cache        # says so once
def get_base(name=None):
    """The base `name`, or the newest supported one that can be had; says which and why."""
    if name:
        names, why = [known(name)], f"BASE={name}"
    else:
        names, why = supported(), "the newest base with a series"
        if not names:
            raise Stop(f"no series in {PATCHES}")
    first = None
    for name in names:
        if first:
            why = f"fell back: {first}"
        try:
            with lock(f"base-{name}"):
                found = cached(name)
                how = "cached"
                # Without a network only a cached base is worth another try.
                if not found and not isinstance(first, Unreachable):
                    found = download(name)
                    how = f"downloaded from {found.suite}"
        except Stop as stop:
            first = first or stop
            continue
        if found:
            found = dataclasses.replace(found, why=f"{how}, {why}")
            say(f"base {name}: {found.package} {found.revision} ({found.why})")
            return found
    raise first


def cached(name):
    """The newest complete base `name` in the cache, or None."""
    files = sorted((CACHE / "base").glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files:
        base = Base(**json.loads(file.read_text(encoding="utf-8")))
        if base.base == name and base.path.is_dir():
            return base
    return None


def apt(suite, *words, **options):
    """Run an apt command on the private state of `suite`."""
    state = CACHE / "apt" / suite
    for directory in ("lists/partial", "cache/archives/partial"):
        (state / directory).mkdir(parents=True, exist_ok=True)
    url = mirror().rstrip("/") + ("-security" if suite.endswith("-security") else "")
    write(state / "sources.list", f"deb [signed-by={KEYRING}] {url} {suite} main\n")
    write(state / "status", "")
    settings = {
        "Dir::Etc::sourcelist": state / "sources.list", "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferences": "-", "Dir::Etc::preferencesparts": "-",
        "Dir::State::lists": state / "lists", "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache", "APT::Sandbox::User": "root", "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none", "Acquire::PDiffs": "false", "Acquire::Retries": "1",
        "Acquire::http::Timeout": "20", "Acquire::https::Timeout": "20",
    }
    pairs = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    return run([words[0], *pairs, *words[1:]], check=False, env={**os.environ, "LC_ALL": "C"}, **options)


def problem(output):
    """Stop for a failed apt command, from what it printed."""
    if "No space left on device" in output or "not enough free space" in output.lower():
        return Stop(disk_full())
    lines = [line[3:] for line in output.splitlines() if line.startswith("E: ")]
    reason = re.sub(r"\s+", " ", lines[0] if lines else "apt failed")
    return Unreachable(f"cannot reach {mirror()}: check the network, or pass KDIR=<kernel tree> ({reason})")


def find(name):
    """(suite, revision, MiB) of the first suite that has a release of base `name`."""
    failure = None
    for suite in SUITES[name]:
        with step(f"package list of {suite}") as this:
            update = apt(suite, "apt-get", "update", beat=this)
            if update.returncode:
                this.result = "no answer"
                failure = failure or problem(update.stdout)
                if not re.search(r"\b404\b|does not have a Release file|not signed|GPG error", update.stdout):
                    raise failure       # the mirror itself does not answer, or the disk is full
                continue
            show = apt(suite, "apt-cache", "show", f"linux-source-{name}").stdout
            found = re.findall(r"^Version: (\S+)$.*?^Size: (\d+)$", show, re.M | re.S)   # newest first
            for revision, size in found:
                if "~rc" not in revision:
                    this.result = revision
                    return suite, revision, int(size) >> 20
            this.result = "release candidates only" if found else f"no linux-source-{name}"
    raise failure or Stop(f"{mirror()} has no linux-source-{name} any more "
                          f"(looked in {', '.join(SUITES[name])}): pass KDIR=<kernel tree>")


def download(name):
    """Download and unpack base `name`; the caller holds its lock."""
    for command in ("apt-get", "apt-cache", "dpkg-deb", "tar", "xz"):
        if not shutil.which(command):
            raise Stop(f"no {command} here, so no Debian kernel source: pass KDIR=<kernel tree>")
    if not Path(KEYRING).exists():
        raise Stop(f"no {KEYRING} (package debian-archive-keyring): install it, or pass KDIR=<kernel tree>")
    temp = CACHE / "base" / f".{name}.tmp"
    if temp.exists():
        say(f"base {name}: an earlier download or unpack was interrupted, starting again")
        shutil.rmtree(temp)
    need_space(CACHE, NEED_MIB, f"base {name}")
    suite, revision, size = find(name)
    package = f"linux-source-{name}"
    upstream = re.match(r"[0-9.]+[0-9]", revision).group(0)
    base = Base(name, upstream, package, revision, suite)
    temp.mkdir(parents=True)
    try:
        with step(f"download {package} {revision} ({size} MiB)") as this:
            fetch = apt(suite, "apt-get", "download", f"{package}={revision}", cwd=temp, beat=this)
            debs = list(temp.glob("*.deb"))
            if fetch.returncode or not debs:
                raise problem(fetch.stdout)
        with step(f"unpack {package}") as this:
            run(["dpkg-deb", "-x", debs[0], temp / "deb"], cwd=temp, beat=this)
            debs[0].unlink()
            run(["tar", "-xJf", temp / f"deb/usr/src/{package}.tar.xz", "-C", temp], cwd=temp, beat=this)
            tree = temp / package
            if not (tree / "Makefile").exists():
                raise Stop(f"{package} {revision} holds no kernel tree named {package}")
            what = {key: value for key, value in vars(base).items() if key != "why"}
            write(CACHE / "base" / f"{revision}.json", json.dumps(what, indent=1) + "\n")
            if base.path.exists():      # its .json was lost: not complete
                shutil.rmtree(base.path)
            tree.rename(base.path)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return base
