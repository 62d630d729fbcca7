# SPDX-License-Identifier: GPL-2.0-only
"""make docs: write what docs/ has from data: environments, commands, behaviours, revert tests, the index of bugs.

The generated parts stand between two comments, <!-- generated: NAME --> and <!-- end -->. `make check` fails
if one of them differs from its data.
"""

import fnmatch
import re
import shlex
import sys
import tomllib
from pathlib import Path

import environments
import variants
from common import BASES, SERIES, patch_files, run_main, say, write

BEHAVIOURS = "tools/behaviours.toml"
REVERTS = "tools/reverts.toml"
MUTANTS = "tools/mutants.toml"
BUGS = "docs/mainline-bugs.md"
GROUPS = ("x86_64*", "ppc64*", "arm64*", "ppc64*hash*", "ppc64*radix")      # how environments are named together
PART = re.compile(r"(?<=<!-- generated: )([a-z]+)( -->\n).*?(?=<!-- end -->)", re.S)
WIDTH = 110


def runs(case, env):
    """Whether `suite.case` runs in the environment `env`."""
    return case.split(".")[0] in env["suites"] and not any(fnmatch.fnmatch(case, glob) for glob in env["skips"])


def where(cases, envs):
    """The environments that run one of `cases`: "all", or for example "`um`, `x86_64*`, `ppc64le-radix`"."""
    left = [name for name, env in envs.items() if any(runs(case, env) for case in cases)]
    if len(left) == len(envs):
        return "all"
    for group in GROUPS:
        names = fnmatch.filter(envs, group)
        if len(names) > 1 and set(names) <= set(left):
            left[left.index(names[0])] = group
            left = [name for name in left if name not in names]
    return code(left)


def code(names):
    return ", ".join(f"`{name}`" for name in names)


def table(head, rows):
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def environment_table(root):
    """What each environment is."""
    return table(("environment", "what it is", "runs by default"), (
        (f"`{name}`", env["about"], "yes" if env["default"] else "") for name, env in environments.load(root).items()))


def command(env):
    """The lines of a command that runs `env` with kunit.py; the Kconfig fragments are in $c."""
    words = ["./tools/testing/kunit/kunit.py run", f"--arch={env['arch']}", f"--build_dir=.kunit-{env['build']}"]
    words += [f"--cross_compile={env['cross_compile']}"] if env["cross_compile"] else []
    words += [f"--kunitconfig={path}" for path in env["kunitconfig"]] + [f"--kunitconfig=$c/{name}.config" for name in env["configs"]]
    words += [f"--qemu_args={shlex.quote(args)}" for args in env["qemu_args"]]
    words += f'--kernel_args="{" ".join(env["kernel_args"])}"'.split(" ")
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) > WIDTH:
            lines[-1] += " \\"
            lines.append(f"    {word}")
        else:
            lines[-1] += f" {word}"
    return lines


def commands(root):
    """How to run each environment with kunit.py alone."""
    yield "```sh"
    yield "c=/path/to/vmem-altmap/tools/configs"
    for name, env in environments.load(root).items():
        yield f"\n# {name}: {env['about']}"
        yield from command(env)
    yield "```"


def load(root, name):
    return tomllib.loads((Path(root) / name).read_text(encoding="utf-8"))


def extra(data):
    """{suite.case: text} of the cases that belong to none of the behaviours."""
    return {f"{suite}.{case}": text for suite, cases in data["cases"].items() for case, text in cases.items()}


def rules(root):
    return table(("rule", ""), load(root, BEHAVIOURS)["rules"].items())


def behaviours(root):
    """The numbered behaviours, and what asserts them."""
    envs = environments.load(root)
    return table(("#", "behaviour", "rule", "cases", "environments"), (
        (str(one["number"]), one["text"] + (f". Not asserted yet: {one['gap']}" if "gap" in one else ""), " ".join(one["rules"]),
         code(one["cases"]), where(one["cases"], envs)) for one in load(root, BEHAVIOURS)["behaviour"]))


def cases(root):
    """The cases beyond them."""
    envs = environments.load(root)
    return table(("case", "asserts", "environments"),
                 ((f"`{case}`", text, where([case], envs)) for case, text in extra(load(root, BEHAVIOURS)).items()))


def detected(tables):
    """Rows with the name of each of `tables`, the environments that detect it, and the cases that fail there."""
    for name, entry in tables.items():
        # Environments that detect it by the same cases share a row.
        seen = {} if "none" in entry else variants.seen(entry)
        for names in dict.fromkeys(map(tuple, seen.values())):
            yield (name, ", ".join(f"`{env}`" for env in seen if tuple(seen[env]) == names),
                   code(names) + (" and others" if entry.get("broad") else ""))


def mutants(root):
    """What kills each mutant that is written by hand."""
    return table(("mutant", "in", "killed by"), detected(load(root, MUTANTS)["by-hand"]))


def reverts(root):
    """What fails without each patch; patches that no case can miss are left out."""
    return table(("without the patch", "in", "these cases fail"), detected(load(root, REVERTS)))


def sections(root):
    """The bugs of docs/mainline-bugs.md: {heading: {field: text}} of the lines `- Symptom: ...`, `- Case: ...`, `- Fix: ...`."""
    found = {}
    for anchor, heading, text in re.findall(r'^<a id="([^"]+)"></a>\n## (B[^\n]*)\n(.*?)(?=^<a id|^## |\Z)',
                                            (Path(root) / BUGS).read_text(encoding="utf-8"), re.M | re.S):
        fields = re.findall(r"^- (Symptom|Case|Fix): (.*?)(?=\n- |\n\n|\n?\Z)", text, re.M | re.S)
        found[heading] = {"anchor": anchor, **{name: " ".join(value.split()) for name, value in fields}}
    return found


def bugs(root):
    """The index of symptoms."""
    rows = []
    for heading, bug in sections(root).items():
        if "Symptom" in bug:
            link = f"[{heading.split(':')[0]}](mainline-bugs.md#{bug['anchor']})"
            fix = ", ".join(dict.fromkeys(re.findall(r"\b\d\d-[a-z][\w-]+", bug.get("Fix", "")))) or bug.get("Fix", "none")
            rows.append((bug["Symptom"].rstrip("."), link, bug.get("Case", "").rstrip("."), fix))
    return table(("symptom", "bug", "case, and where it runs", "fix"), rows)


PARTS = {"environments": environment_table, "commands": commands, "rules": rules, "behaviours": behaviours, "cases": cases,
         "mutants": mutants, "reverts": reverts, "bugs": bugs}


def written(root, text):
    """`text` of a page with all its generated parts as the data has them."""
    def part(found):
        return f"{found[1]}{found[2]}" + "".join(f"{line}\n" for line in PARTS[found[1]](root))
    return PART.sub(part, text)


def pages(root):
    return sorted((Path(root) / "docs").glob("*.md"))


def stale(root):
    """One line for each page whose generated parts differ from the data, and for what is wrong with the markers."""
    for page in pages(root):
        text, name = page.read_text(encoding="utf-8"), f"docs/{page.name}"
        if unknown := [part for part, _ in PART.findall(text) if part not in PARTS]:
            yield f"{name}: nothing generates {', '.join(unknown)}: there are {', '.join(PARTS)}"
        elif len(PART.findall(text)) != len(re.findall("<!-- (?:generated|end)", text)) / 2:
            yield f"{name}: `generated` and `end` comments do not match"
        elif written(root, text) != text:
            yield f"{name}: the generated parts differ from their data: run make docs"


def problems(root, known):
    """What is wrong with the data: `known` are the KUnit cases ("suite.case") that the kernel files have."""
    data, envs = load(root, BEHAVIOURS), environments.load(root)
    numbers = [one["number"] for one in data["behaviour"]]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"{BEHAVIOURS}: the numbers of the behaviours are not 1 to {len(numbers)}, in order"
    named = extra(data)
    for one in data["behaviour"]:
        place = f"{BEHAVIOURS}: behaviour {one['number']}"
        if unknown := [rule for rule in one["rules"] if rule not in data["rules"]]:
            yield f"{place}: unknown rule {', '.join(unknown)}"
        if not one["cases"]:
            yield f"{place}: no case asserts it"
        named |= dict.fromkeys(one["cases"])
    for case in sorted(named.keys() - known):
        yield f"{BEHAVIOURS}: no KUnit case {case}"
    for case in sorted(known - named.keys()):
        yield f"{BEHAVIOURS}: does not name the KUnit case {case}"
    for case in sorted(known & named.keys()):
        if not any(runs(case, env) for env in envs.values()):
            yield f"tools/environments.toml: {case} runs in no environment"
    patches = "\n".join(path.read_text(encoding="utf-8", errors="replace")
                        for base in BASES for path in patch_files(Path(root) / "patches" / base))
    subjects = set(re.findall(r"^Subject: \[[^\]]*\] (.*(?:\n .*)*)", patches, re.M))
    subjects = {" ".join(subject.split()) for subject in subjects}
    for heading, bug in sections(root).items() if (Path(root) / BUGS).exists() else ():
        for subject in re.findall(r'"([^"]+)"', bug.get("Fix", "")):
            if subject not in subjects:
                yield f"{BUGS}: {heading.split(':')[0]}: no patch \"{subject}\""
        for case in re.findall(r"`(\w+\.\w+)`", bug.get("Case", "")):
            if case not in known:
                yield f"{BUGS}: {heading.split(':')[0]}: no KUnit case {case}"


def main():
    for page in pages(SERIES):
        text = page.read_text(encoding="utf-8")
        if (new := written(SERIES, text)) != text:
            write(page, new)
            say(f"docs/{page.name}: written")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit("error: docs.py takes no arguments")
    run_main(main)
