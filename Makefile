# SPDX-License-Identifier: GPL-2.0-only

TOOL := ./tools/python
export ENV BASE KDIR FILTER MIRROR

.PHONY: help run test modules teeth bench check refresh tree clean

help:
	@echo 'make run      build and run the suites, print a matrix with verdicts'
	@echo '              ENV=um,x86_64|all  FILTER=suite.case  BASE=7.3|6.12  or KDIR=<kernel tree>'
	@echo 'make test     make check, all environments, and proof that the suites have teeth'
	@echo 'make modules  the suites as modules: load, unload, and both again in one boot (ENV=x86_64)'
	@echo 'make teeth    without each patch of the series, exactly its cases fail'
	@echo 'make bench    what a section of memmap costs, without the series and with it (BASE= or KDIR=)'
	@echo 'make check    quick checks of patches, files and tools'
	@echo 'make refresh  write patches/ anew from the files here and the git tree of the series'
	@echo 'make tree     create that git tree (BASE=) and print its path'
	@echo 'make clean    remove out/'

run:
	@$(TOOL) tools/run.py

test:
	@$(TOOL) tools/test.py

modules:
	@$(TOOL) tools/modules.py

teeth:
	@$(TOOL) tools/teeth.py

bench:
	@$(TOOL) tools/bench.py

check:
	@$(TOOL) tools/check.py

refresh:
	@$(TOOL) tools/series.py refresh

tree:
	@$(TOOL) tools/series.py tree

clean:
	rm -rf out
