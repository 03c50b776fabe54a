# `make` alone prints this list.
PYTHON ?= python3
TORCH  ?=
PY     := .venv/bin/python
SETUP   = @$(PYTHON) tools/setup.py $(if $(TORCH),--torch $(TORCH))
ROOT   := $(if $(filter 0,$(shell id -u)),--allow-root)# in containers one often is root

.DEFAULT_GOAL := help
.PHONY: help lab test quick build check graders learning bench weights grid constraints check-mine reset progress update doctor

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

lab:  ## open the course in JupyterLab (installs it first; TORCH=gpu for a GPU build)
	$(SETUP)
	@$(PY) -m course_lib.desk open
	@cd work && ../$(PY) -m jupyterlab $(ROOT) 00_start_here/00_start_here.ipynb

test:  ## everything that CI runs
	$(SETUP) --dev
	@$(PY) -m tools.ci

quick:  ## what to run before a commit: at most three minutes
	$(SETUP) --dev
	@$(PY) -m tools.ci --quick

build:  ## lessons -> notebooks; LESSON=00 for one, FORCE=1 to execute again
	$(SETUP) --dev
	@$(PY) -m tools.build $(LESSON) $(if $(FORCE),--force)

check:  ## are the committed notebooks what would be built?
	$(SETUP) --dev
	@$(PY) -m tools.build --check

graders:  ## prove the graders; writes docs/GRADERS.md
	$(SETUP) --dev
	@$(PY) -m tools.graders

learning:  ## prove the claims about learning over several seeds; RECORD=1 keeps the curves
	$(SETUP) --dev
	@RECORD=$(RECORD) $(PY) -m pytest -m slow tests/learning

bench:  ## measure the claims of speed; writes docs/BENCH.md
	$(SETUP) --dev
	@$(PY) -m tools.bench $(CLAIM)

weights:  ## make the course's own models again (up to an hour; stop it and it goes on later)
	$(SETUP) --dev
	@$(PY) -m tools.pretrain

grid:  ## make the runs behind the law of scale again (45 minutes; stop it and it goes on later)
	$(SETUP) --dev
	@$(PY) -m tools.grid

constraints:  ## write the installed set down as the tested one
	$(SETUP) --dev
	@$(PY) tools/setup.py --freeze

check-mine:  ## LESSON=00: what would be marked in your copy, and can it be handed in?
	$(SETUP)
	@$(PY) -m course_lib.desk check $(LESSON)

reset:  ## LESSON=00 EXERCISE=softmax: that exercise back to blank; yours is kept
	$(SETUP)
	@$(PY) -m course_lib.desk reset $(LESSON) $(EXERCISE)

progress:  ## the map of your way: what is done, what is next
	$(SETUP)
	@$(PY) -m course_lib.progress

update:  ## after git pull: your copies get what is new and keep your work
	$(SETUP)
	@$(PY) -m course_lib.updating $(LESSON)

doctor:  ## something does not work: versions, memory, models, and a cure for each problem
	@test -x $(PY) || { echo "The course is not installed yet: make lab"; exit 1; }
	@$(PY) -m course_lib.doctor
