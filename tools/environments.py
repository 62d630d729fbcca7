# SPDX-License-Identifier: GPL-2.0-only
"""The environments of tools/environments.toml: loaded, chosen, and as options of kunit.py."""

import re
import tomllib
from pathlib import Path

from common import SERIES, Stop

# The fields of an environment, and what each is where the file has none. tools/environments.toml explains them.
FIELDS = {
    "parts": [], "about": "", "arch": "", "build": "", "kunitconfig": [], "configs": [], "kconfig_add": [], "cross_compile": "",
    "qemu": "", "qemu_args": [], "kernel_args": {}, "timeout": 0, "default": False, "machine": "",
    "suites": [], "skips": [], "needs": [],
}
BUILD_FIELDS = ("arch", "kunitconfig", "configs", "kconfig_add", "cross_compile")    # what a kernel depends on


def merged(one, two):
    """The fields of `one` and `two`: lists are joined, tables merged, and otherwise `two` counts.

    Within kernel_args, lists are not joined: an argument that `two` has takes the place of that of `one`.
    """
    found = dict(one)
    for name, value in two.items():
        old = found.get(name)
        if isinstance(old, dict) and isinstance(value, dict):
            value = {key: merged(old[key], entry) if isinstance(old.get(key), dict) and isinstance(entry, dict) else entry
                     for key, entry in {**old, **value}.items()}
        found[name] = old + value if isinstance(old, list) and isinstance(value, list) else value
    return found


def words(arguments, prefix=""):
    """The kernel arguments of a table, as a list: {"a": {"b": 1}, "c": ["2", "3"]} is a.b=1 c=2 c=3."""
    found = []
    for name, value in arguments.items():
        if isinstance(value, dict):
            found += words(value, f"{prefix}{name}.")
        else:
            found += [f"{prefix}{name}={one}".removesuffix("=") for one in (value if isinstance(value, list) else [value])]
    return found


def load(root=SERIES):
    """{name: table} of the environments of the checkout `root`, each with all of FIELDS; kernel_args is a list then.

    Stop if the file names a field, part or fragment that does not exist, or if two environments that
    share a build differ in it.
    """
    data = Path(root) / "tools/environments.toml"
    try:
        tables = tomllib.loads(data.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise Stop(f"{data}: {error}") from None
    parts = tables.pop("parts", {})

    def whole(name, table):
        if unknown := [field for field in table if field not in FIELDS]:
            raise Stop(f"{data}: {name}: unknown field {', '.join(unknown)}")
        if unknown := [part for part in table.get("parts", ()) if part not in parts]:
            raise Stop(f"{data}: {name}: unknown part {', '.join(unknown)}")
        found = {}
        for part in table.get("parts", ()):
            found = merged(found, whole(f"parts.{part}", parts[part]))
        return merged(found, {field: value for field, value in table.items() if field != "parts"})

    found, first = {}, {}
    for name, table in tables.items():
        env = {**FIELDS, "build": name, **whole(name, table), "name": name}
        env["kernel_args"] = words(env["kernel_args"])
        if missing := [path for path in fragments(env, root) if not path.is_file()]:
            raise Stop(f"{data}: {name}: no file {missing[0]}")
        other = first.setdefault(env["build"], env)
        if any(other[field] != env[field] for field in BUILD_FIELDS):
            raise Stop(f"{data}: {other['name']} and {name} share build {env['build']} but differ in it")
        found[name] = env
    return found


def choose(names):
    """The environments that ENV= asks for: a list with commas or spaces, all, or empty for the default ones."""
    tables = load()
    wanted = re.split(r"[,\s]+", names.strip()) if names.strip() else []
    if unknown := [name for name in wanted if name not in tables and name != "all"]:
        raise Stop(f"unknown environment {', '.join(unknown)}: ENV is one of {', '.join(tables)}, all")
    return [table for name, table in tables.items()
            if name in wanted or "all" in wanted or not wanted and table["default"]]


def fragments(env, root=SERIES):
    """The files with the Kconfig fragments of `env`."""
    return [Path(root) / f"tools/configs/{name}.config" for name in env["configs"]]


def inputs(env):
    """What the kernel of `env` depends on besides its sources and compiler, as json can say it."""
    return {**{field: env[field] for field in BUILD_FIELDS},
            "configs": {path.name: path.read_text(encoding="utf-8") for path in fragments(env)}}


def build_options(env):
    """kunit.py's options that configure and build `env`, without --build_dir."""
    options = [f"--arch={env['arch']}"]
    options += [f"--kunitconfig={path}" for path in (*env["kunitconfig"], *fragments(env))]
    options += [f"--kconfig_add={line}" for line in env["kconfig_add"]]
    return options + ([f"--cross_compile={env['cross_compile']}"] if env["cross_compile"] else [])


def guest_options(env):
    """kunit.py's options that run `env`."""
    return [f"--timeout={env['timeout']}", *(f"--qemu_args={args}" for args in env["qemu_args"]),
            *(f"--kernel_args={args}" for args in env["kernel_args"])]
