# SPDX-License-Identifier: GPL-2.0-only
"""environments.py: how parts and fields combine, and what is wrong with a file that does not hold together."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import environments
from common import Stop

TEXT = """
[parts.any]
suites = ["one"]
timeout = 5
kernel_args = { printk.time = 1, memmap = ["exactmap", "1M@0"] }

[parts.more]
parts = ["any"]
suites = ["two"]
configs = ["small"]
kernel_args.kunit = { a = 1, b = "" }

[first]
parts = ["more"]
suites = ["three"]
timeout = 6

[second]
parts = ["more", "any"]
build = "first"
kernel_args = { memmap = ["2M@0"], kunit.a = 2 }
"""


class Environments(unittest.TestCase):
    def load(self, text):
        with tempfile.TemporaryDirectory() as temp:
            configs = Path(temp, "tools/configs")
            configs.mkdir(parents=True)
            (configs / "small.config").write_text("CONFIG_EXPERT=y\n", encoding="utf-8")
            (configs.parent / "environments.toml").write_text(text, encoding="utf-8")
            return environments.load(temp)

    def stops(self, old, new, *words):
        """TEXT is fine, and with `new` instead of `old` it is one line with all `words`."""
        self.assertIn(old, TEXT)
        with self.assertRaises(Stop) as stop:
            self.load(TEXT.replace(old, new))
        for word in (*words, "environments.toml"):
            self.assertIn(word, str(stop.exception))

    def test_parts(self):
        found = self.load(TEXT)
        self.assertEqual([*found], ["first", "second"])
        first, second = found.values()
        self.assertEqual((first["suites"], first["timeout"], first["configs"]), (["one", "two", "three"], 6, ["small"]))
        self.assertEqual(first["kernel_args"], ["printk.time=1", "memmap=exactmap", "memmap=1M@0", "kunit.a=1", "kunit.b"])
        self.assertEqual(second["kernel_args"], ["printk.time=1", "memmap=2M@0", "kunit.a=2", "kunit.b"])
        self.assertEqual((second["suites"], second["timeout"], second["build"]), (["one", "two", "one"], 5, "first"))
        self.assertEqual({*first} - {"name"}, {*environments.FIELDS})

    def test_bad_file(self):
        self.stops("timeout = 6", "time_out = 6", "first: unknown field time_out")
        self.stops('["more", "any"]', '["most"]', "second: unknown part most")
        self.stops('configs = ["small"]', 'configs = ["tiny"]', "first: no file ", "tools/configs/tiny.config")
        self.stops('build = "first"', 'build = "first"\narch = "vax"', "first and second share build first but differ")
        self.stops("[first]", "[first", "line 13")

    def test_options(self):
        env = {**self.load(TEXT)["second"], "arch": "arm64", "cross_compile": "aarch64-linux-gnu-", "kunitconfig": ["mm/tests"],
               "kconfig_add": ["CONFIG_X=m"], "qemu_args": ["-m 4G"]}
        self.assertEqual(environments.build_options(env), [
            "--arch=arm64", "--kunitconfig=mm/tests", f"--kunitconfig={environments.SERIES}/tools/configs/small.config",
            "--kconfig_add=CONFIG_X=m", "--cross_compile=aarch64-linux-gnu-"])
        self.assertEqual(environments.guest_options(env)[:3], ["--timeout=5", "--qemu_args=-m 4G", "--kernel_args=printk.time=1"])
        self.assertEqual(environments.inputs(env)["configs"], {"small.config": (
            environments.SERIES / "tools/configs/small.config").read_text(encoding="utf-8")})

    def test_shipped_file(self):
        found = environments.load()
        for name, env in found.items():
            for field in ("about", "arch", "kunitconfig", "configs", "suites", "timeout"):
                self.assertTrue(env[field], f"{name}: {field}")
        self.assertEqual((found["ppc64le-radix"]["build"], found["um"]["build"]), ("ppc64le", "um"))
        self.assertEqual([name for name, env in found.items() if env["default"]], [env["name"] for env in environments.choose("")])


if __name__ == "__main__":
    unittest.main()
