# SPDX-License-Identifier: GPL-2.0-only
"""mutate.py: which mutants a function has, and that selecting one does what the changed text would do."""

import subprocess
import tempfile
import unittest
from pathlib import Path

from fake import TOOLS      # noqa: F401 pylint: disable=unused-import

import mutate               # noqa: E402 pylint: disable=wrong-import-position
from common import Stop


def function(body, head="static int __init f(int a, int b)", ignored="pr_\\w+", also=()):
    return mutate.Function("mm/x.c", f"int g;\n\n{head}\n{{\n{body}\n}}\n\nint h;\n", "f", ignored, also)


class Operators(unittest.TestCase):
    def check(self, body, *wanted, **more):
        """The mutants of `body` are `wanted`: (operator, before -> after)."""
        found = [f"{mutant.operator}: {mutant.name[3:]}" for mutant in mutate.mutants(function(body, **more).nodes)]
        self.assertEqual(found, list(wanted))

    def test_condition(self):
        self.check("	if (a && !b || a < 1)\n		pr_info(\"x\");\n	return a;",
                   "negate: a && !b || a < 1 -> !(a && !b || a < 1)", "drop: a && !b || a < 1 -> a < 1",
                   "drop: a && !b || a < 1 -> a && !b", "drop: a && !b -> !b", "drop: a && !b -> a",
                   "boundary: a < 1 -> a <= 1", "constant: a < 1 -> a < 0", "return: return a; -> return 0;")
        self.check("	while (!g(a, true))\n		g++;\n	return a ? b : !b;", "negate: !g(a, true) -> g(a, true)",
                   "constant: !g(a, true) -> !g(a, false)", "remove: g++; -> removed", "return: return a ? b : !b; -> return 0;",
                   "negate: return a ? b : !b; -> return !(a) ? b : !b;", "negate: return a ? b : !b; -> return a ? b : b;")

    def test_loops(self):
        self.check("	for (a = 0; a < b; a++)\n		g++;\n	while (a)\n		break;\n	return a;",
                   "constant: a = 0 -> a = 1", "negate: a < b -> !(a < b)", "boundary: a < b -> a <= b", "remove: g++; -> removed",
                   "negate: a -> !(a)", "remove: break; -> removed", "return: return a; -> return 0;")
        self.check("	for_each_thing(a, b)\n		g(a);\n	return a;", "remove: g(a); -> removed", "return: return a; -> return 0;")

    def test_arithmetic(self):
        self.check("	a = b + g * 2 - h;\n	return -ENOMEM;", "remove: a = b + g * 2 - h; -> removed",
                   "drop: a = b + g * 2 - h; -> a = b + g * 2;", "drop: a = b + g * 2 - h; -> a = b - h;",
                   "constant: a = b + g * 2 - h; -> a = b + g * 1 - h;", "return: return -ENOMEM; -> return 0;")

    def test_casts_and_pointers_are_no_operators(self):
        self.check("	a = (unsigned long)-1 == (long) b;\n	a = *p;\n	p = &a;\n	a = sizeof(struct page) + b;\n	return 0;",
                   "remove: a = (unsigned long)-1 == (long) b; -> removed",
                   "negate: a = (unsigned long)-1 == (long) b; -> a = !((unsigned long)-1 == (long) b);",
                   "constant: a = (unsigned long)-1 == (long) b; -> a = (unsigned long)-0 == (long) b;",
                   "remove: a = *p; -> removed", "remove: p = &a; -> removed",
                   "remove: a = sizeof(struct page) + b; -> removed", "drop: a = sizeof(struct page) + b; -> a = sizeof(struct page);",
                   "return: return 0; -> return -EINVAL;")

    def test_calls(self):
        self.check("	g(altmap, p->altmap, a);\n	pr_err(\"%d\", 1);\n	if (WARN_ONCE(a, \"x %d\", 1))\n		return 0;\n	return 0;",
                   "remove: g(altmap, p->altmap, a); -> removed", "altmap: g(altmap, p->altmap, a); -> g(NULL, p->altmap, a);",
                   "altmap: g(altmap, p->altmap, a); -> g(altmap, NULL, a);", "negate: a -> !(a)",
                   "remove: return 0; -> removed", "return: return 0; -> return -EINVAL;", "return: return 0; -> return -EINVAL;")

    def test_declarations(self):
        self.check("	unsigned long x = a + b, y;\n	pte_t e = g(), *p = g(1);\n	static int z = 1;\n	struct s t = { 1 };\n"
                   "	goto out;\nout:\n	return 0;",
                   "drop: unsigned long x = a + b, y; -> unsigned long x = a, y;",
                   "constant: pte_t e = g(), *p = g(1); -> pte_t e = g(), *p = g(0);", "remove: goto out; -> removed",
                   "return: return 0; -> return -EINVAL;")

    def test_last_return_stays(self):
        """The compiler refuses a function that ends without a value."""
        self.check("	if (a)\n		return a;\n	else\n		return b;", "negate: a -> !(a)", "return: return a; -> return 0;",
                   "return: return b; -> return 0;")
        self.check("	if (a)\n		return;\n	g();", "negate: a -> !(a)", "remove: return; -> removed", "remove: g(); -> removed",
                   head="static void f(int a)")

    def test_preprocessor_and_comments(self):
        self.check("#ifdef CONFIG_A\n	if (a)	/* always */\n		g();\n	else\n#endif\n		h();\n	return 0;", "negate: a -> !(a)",
                   "remove: g(); -> removed", "remove: h(); -> removed", "return: return 0; -> return -EINVAL;")

    def test_also(self):
        self.check("	if (a > b)\n		g();\n	return 0;", "negate: a > b -> !(a > b)", "boundary: a > b -> a >= b", "also: a > b -> a",
                   "remove: g(); -> removed", "also: g(); -> h();", "return: return 0; -> return -EINVAL;",
                   also=[("a > b", "a"), ("g();", "h();")])

    def test_no_such_function(self):
        with self.assertRaisesRegex(Stop, "there is no function f in mm/x.c; bring tools/mutants.toml up to date"):
            mutate.Function("mm/x.c", "int f(void);\n", "f", "x")


class Schemata(unittest.TestCase):
    BODY = """	int i, n = a + 3, sum = 0;

	if (a > 2 && b > 1 || a == b)
		sum += 2;
	else if (!a)
		return -EINVAL;
	for (i = 1; i < n; i++) {
		if (i == 2)
			continue;
		sum += i * b;
		if (sum > 40)
			break;
	}
	switch (b) {
	case 1:
		sum -= 1;
		break;
	default:
		sum = sum ? sum << 1 : ~b;
	}
	return sum & 63;"""

    def test_selecting_is_changing(self):
        """Compile all changed texts beside the function with its mutants, and compare their results."""
        one = function(self.BODY, "static int f(int a, int b)", also=[("sum += 2;", "sum += 5;")])
        number, texts = 0, []
        pending = list(one.nodes)
        for node in pending:
            pending += node.parts
            for mutant, new in node.mutants:
                number += 1
                mutant.number = number
                texts.append(one.text[one.start:node.start] + (new or ";") + one.text[node.end:one.end])
        self.assertEqual(len(texts), number)
        self.assertGreater(number, 30)
        source = "#include <errno.h>\n#include <stdio.h>\nstatic unsigned int selected;\n#define MUTANT(n) (selected == (n))\n"
        source += mutate.render(one.text, one.start, one.end, one.nodes) + "\n"
        source += "".join(text.replace("f(int a", f"f{i}(int a", 1) + "\n" for i, text in enumerate(texts, 1))
        source += "static int (*all[])(int, int) = { f, " + ", ".join(f"f{i}" for i in range(1, number + 1)) + " };\n"
        source += f"""int main(void)
{{
	int a, b;

	for (; selected <= {number}; selected++)
		for (a = -1; a < 6; a++)
			for (b = -1; b < 6; b++)
				if (f(a, b) != all[selected](a, b)) {{
					printf("mutant %u differs\\n", selected);
					return 1;
				}}
	return 0;
}}
"""
        with tempfile.TemporaryDirectory() as temp:
            Path(temp, "x.c").write_text(source, encoding="utf-8")
            subprocess.run(["gcc", "-w", "-O0", "-ftrivial-auto-var-init=zero", "-o", f"{temp}/x", f"{temp}/x.c"], check=True)
            done = subprocess.run([f"{temp}/x"], check=False, capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout), (0, ""))


if __name__ == "__main__":
    unittest.main()
