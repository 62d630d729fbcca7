# SPDX-License-Identifier: GPL-2.0-only

TOOL := ./tools/python
export ENV BASE KDIR FILTER MIRROR

.PHONY: help run test modules e2e mutants revert-tests bench bisect check docs refresh tree clean

help:
	@echo 'make run           build the kernels, run the suites, and print a table with verdicts'
	@echo '                   ENV=um,x86_64|all  FILTER=suite.case  BASE=7.3|6.12  or KDIR=<kernel tree>'
	@echo 'make test          make check, make run, make modules, and a part of the mutants'
	@echo 'make check         check patches, files and tools without building a kernel'
	@echo
	@echo 'make modules       load and unload the suites as modules, twice in one boot (ENV=x86_64)'
	@echo 'make e2e           NVDIMMs, DIMMs and dax/kmem in guests, without and with the series (ENV=, FILTER=)'
	@echo 'make mutants       change the code a little: a case must fail (ENV=, FILTER="function: *")'
	@echo 'make revert-tests  leave out one patch at a time: its cases must fail (ENV=, FILTER=04-mm-fixes)'
	@echo 'make bench         count what a section of memmap costs, without and with the patches (BASE= or KDIR=)'
	@echo 'make bisect        compile each commit of the series for six architectures (ENV=, BASE= or GITTREE=)'
	@echo
	@echo 'make tree          create the git tree of the series and print its path (BASE=)'
	@echo 'make refresh       write patches/ from the files here and that git tree (BASE= or GITTREE=)'
	@echo 'make docs          write the generated tables and commands of docs/'
	@echo 'make clean         remove out/'

run:
	@$(TOOL) tools/run.py

test:
	@$(TOOL) tools/test.py

modules:
	@$(TOOL) tools/modules.py

e2e:
	@$(TOOL) tools/e2e.py

mutants:
	@$(TOOL) tools/mutants.py

revert-tests:
	@$(TOOL) tools/reverts.py

bench:
	@$(TOOL) tools/bench.py

bisect:
	@$(TOOL) tools/bisection.py

check:
	@$(TOOL) tools/check.py

docs:
	@$(TOOL) tools/docs.py

refresh:
	@$(TOOL) tools/series.py refresh

tree:
	@$(TOOL) tools/series.py tree

clean:
	rm -rf out
