# SPDX-License-Identifier: GPL-2.0-only

TOOL := ./tools/python
export ENV BASE KDIR FILTER MIRROR

.PHONY: help run test modules e2e teeth bench bisect check refresh tree clean

help:
	@echo 'make run      build and run the suites, print a matrix with verdicts'
	@echo '              ENV=um,x86_64|all  FILTER=suite.case  BASE=7.3|6.12  or KDIR=<kernel tree>'
	@echo 'make test     make check, make run, make modules, and the faults that the suites must find'
	@echo 'make modules  load and unload the suites as modules, twice in one boot (ENV=x86_64)'
	@echo 'make e2e      NVDIMMs, DIMMs and dax/kmem in guests, without the series and with it (ENV=, BASE= or KDIR=, FILTER=)'
	@echo 'make teeth    leave out one patch at a time: do exactly its cases fail?'
	@echo 'make bench    what a section of memmap costs, without the series and with it (BASE= or KDIR=)'
	@echo 'make bisect   compile each commit of the series for six architectures (ENV=, BASE= or GITTREE=)'
	@echo 'make check    quick checks of patches, files and tools'
	@echo 'make refresh  write patches/ anew from the files here and the git tree of the series (BASE= or GITTREE=)'
	@echo 'make tree     create that git tree (BASE=) and print its path'
	@echo 'make clean    remove out/'

run:
	@$(TOOL) tools/run.py

test:
	@$(TOOL) tools/test.py

modules:
	@$(TOOL) tools/modules.py

e2e:
	@$(TOOL) tools/e2e.py

teeth:
	@$(TOOL) tools/teeth.py

bench:
	@$(TOOL) tools/bench.py

bisect:
	@$(TOOL) tools/bisection.py

check:
	@$(TOOL) tools/check.py

refresh:
	@$(TOOL) tools/series.py refresh

tree:
	@$(TOOL) tools/series.py tree

clean:
	rm -rf out
