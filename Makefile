# foldline: `make ensemble` does the whole line, `make test` runs the tests. Make knows which files are missing;
# the code decides whether those that exist are still valid, so file times retrain nothing (order-only prerequisites).

COMP ?= elpv
RUN ?= baseline
FOLD ?= 0
NAME ?=
SET ?=
RUNS ?=
BLEND ?= mean
AGAINST ?=
SEARCH ?=
DECIDE ?= fitted
PRIOR ?=
GREEDY ?=
ACTION ?=
ROUNDS ?= 3
OPTIONS ?=
WITH_DIVERGED ?=
GPU ?= t4
HOURS ?= 9
HIDDEN_ROWS ?=
OWNER ?=
FOLDS ?=
SHARD ?=
VIEWS ?=
FAST ?=
LIMIT ?=
MEMORY ?=
LINES ?=
MESSAGE ?=
YES ?=
MINUTES ?=
FEATURES ?=
KERNEL ?=
FORCE ?=
REFRESH ?=
DEVICE ?= auto
RANKS ?=
JOBS ?= 1
ON ?=
ADDRESS ?=
GPUS ?=
CPUS ?=
SHARDS ?=
FILES ?=
OUT ?=
FORMAT ?= folder
HALF ?=
PUSH ?=
PORT ?=
TEST ?=
ONLY ?=
INPUTS ?=
PAGE ?=
PICTURES ?=
LABEL ?=
PYTHON ?= python3
CPU ?=
LOCKED ?=
EXTRAS ?=
# PyTorch's own index of builds without CUDA; a mirror of it or a folder of wheels goes as well
TORCH_CPU ?= https://download.pytorch.org/whl/cpu

export FOLDLINE_BY_MAKE := 1# messages say `make ...`, with its variables

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
# every file is whole or not there, so nothing that an error or Ctrl-C leaves is to be deleted
.DEFAULT_GOAL := help

bin := .venv/bin
foldline := $(bin)/foldline
ready := .venv/ready
dev := .venv/extra-dev
tools := .tools/ready
run := $(or $(NAME),$(RUN))
name := $(if $(RUNS),$(or $(NAME),$(subst $(eval) ,+,$(strip $(RUNS)))),$(run))
members := $(or $(RUNS),$(run))
jobs := $(if $(filter-out 1,$(JOBS)),--jobs $(JOBS))
set_args := $(if $(SET),--set "$(SET)")
run_args := --comp $(COMP) --run $(RUN) $(if $(NAME),--name $(NAME)) $(set_args)

manifest := $(firstword $(wildcard input/$(COMP).manifest.json) input/$(COMP)/manifest.json)
folds := folds/$(COMP).csv
predicted := $(members:%=oof/$(COMP)/%/cv.json)
submission := submissions/$(COMP)/$(name).csv
ray := $(if $(filter ray,$(ON)),.venv/extra-ray)
on_args := $(if $(ON),--on $(ON)) $(if $(ADDRESS),--address "$(ADDRESS)") $(if $(GPUS),--gpus $(GPUS)) $(if $(CPUS),--cpus $(CPUS)) \
  $(if $(ON),$(if $(MEMORY),--memory $(MEMORY)))

.PRECIOUS: $(manifest) $(folds) $(predicted) $(submission)
.PHONY: help run init install lock download folds explore train train-all lr-find predict predict-files export soup ensemble blend score report app watch compare clean-labels pseudo search submit kernel rehearse offline choose ledger check doctor test gpu-check faults lint audit sbom bench docs clean

help: ## list the targets
	@echo 'COMP=$(COMP) RUN=$(RUN) FOLD=$(FOLD) SET="optim.lr=3e-4 train.epochs=5" NAME=new-run RUNS="a b"'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

install := $(bin)/python benchmarks/install.py $(if $(LOCKED),--constraint requirements.lock)

# What a user needs. `make test` and its like add `dev`, `make app` its own extra, and so on.
$(ready): requirements.txt pyproject.toml $(if $(CPU)$(wildcard .venv/cpu),.venv/cpu)
	@[ -x $(bin)/python ] || $(PYTHON) -m venv --upgrade-deps .venv
	@$(install) --editable .
	@touch $@

# PyTorch without CUDA comes first, and from its own index alone: where that cannot be reached, no 5 GB come instead.
.venv/cpu: requirements.txt
	@[ -e .venv/cpu.begun ] || [ ! -e .venv ] || \
	  { echo 'error: .venv holds PyTorch as PyPI has it; what to do: rm -r .venv, then make CPU=1 again'; exit 2; }
	@mkdir -p .venv && touch .venv/cpu.begun
	@[ -x $(bin)/python ] || $(PYTHON) -m venv --upgrade-deps .venv
	@$(install) --index-url $(TORCH_CPU) $$(sed -n 's/^\(torch[a-z]*[>=]*[0-9.]*\).*/\1/p' requirements.txt)
	@touch $@

.venv/extra-%: $(ready)
	@$(install) --editable '.[$*]'
	@touch $@

# Not in .venv: what they need themselves is nothing that foldline needs.
$(tools): Makefile
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet pip-audit==2.10.1 cyclonedx-bom==7.5.0
	@touch $@

$(manifest): | $(ready)
	$(foldline) download --comp $(COMP)

$(folds): | $(ready) $(manifest)
	$(foldline) folds --comp $(COMP)

oof/$(COMP)/%/cv.json: | $(ready) $(ray) $(manifest) $(folds)
	$(foldline) train $(if $(RUNS),--comp $(COMP) --run $*,$(run_args)) --device $(DEVICE) $(if $(RANKS),--ranks $(RANKS)) $(jobs) $(on_args)
	$(foldline) predict $(if $(RUNS),--comp $(COMP) --run $*,$(run_args)) --device $(DEVICE) $(if $(SHARDS),--shards $(SHARDS)) $(on_args)

$(submission): | $(predicted)
	$(foldline) ensemble $(run_args) $(if $(RUNS),--runs "$(RUNS)" --blend $(BLEND)) --decide $(DECIDE) $(if $(PRIOR),--prior $(PRIOR)) $(if $(WITH_DIVERGED),--with-diverged)

run: $(ready) ## the whole line on your own pictures: PICTURES=folder (or a table), LABEL=first-folder, MINUTES=20, YES=1 asks nothing
	$(foldline) run $(if $(PICTURES),"$(PICTURES)") $(if $(filter file,$(origin COMP)),,--comp $(COMP)) --run $(RUN) \
	  $(if $(NAME),--name $(NAME)) $(set_args) $(if $(LABEL),--label "$(LABEL)") $(if $(YES),--yes) $(if $(MINUTES),--minutes $(MINUTES)) --device $(DEVICE) $(jobs)

init: $(ready) ## the facts of PICTURES=folder alone, or of input/COMP
	$(foldline) init $(if $(PICTURES),"$(PICTURES)") $(if $(filter file,$(origin COMP)),,--comp $(COMP)) \
	  $(if $(LABEL),--label "$(LABEL)") $(if $(YES),--yes)

install: $(ready) $(EXTRAS:%=.venv/extra-%) ## make .venv: CPU=1 without CUDA (1.5 GB), LOCKED=1 with CI's versions, EXTRAS="dicom tif"

lock: $(ready) ## the versions that pip would take today: requirements.lock
	$(bin)/python -m pip install --quiet --dry-run --ignore-installed --report - '.[dev]' | $(bin)/python benchmarks/lock.py > .lock
	mv .lock requirements.lock

download: $(ready) ## fetch the raw files of COMP into input/; REFRESH=1: anew, in place of the copies
	$(foldline) download --comp $(COMP) $(if $(REFRESH),--refresh)

folds: $(ready) | $(manifest) ## split the training rows: folds/COMP.csv
	$(foldline) folds --comp $(COMP)

explore: $(ready) | $(manifest) ## look before training: leaks, duplicates, shifts: oof/COMP/explore.html; FAST=1, FEATURES=1
	$(foldline) explore --comp $(COMP) --run $(RUN) $(set_args) $(if $(FAST),--fast) $(if $(FEATURES),--features) --device $(DEVICE)

train: $(ready) $(ray) | $(manifest) $(folds) ## fine-tune one fold: FOLD=0; RANKS=2: by two GPUs together
	$(foldline) train $(run_args) --fold $(FOLD) --device $(DEVICE) $(if $(RANKS),--ranks $(RANKS)) $(on_args)

train-all: $(ready) $(ray) | $(manifest) $(folds) ## fine-tune every fold that is not finished; JOBS=auto: a fold on each GPU at once; ON=ray: on a cluster, RUNS="a b" ADDRESS= GPUS= CPUS= MEMORY=
	$(foldline) train $(run_args) $(if $(RUNS),--runs "$(RUNS)") --device $(DEVICE) $(if $(RANKS),--ranks $(RANKS)) $(jobs) $(on_args)

lr-find: $(ready) | $(manifest) $(folds) ## suggest a learning rate: the loss over growing rates
	$(foldline) lr-find --comp $(COMP) --run $(RUN) $(set_args) --fold $(FOLD) --device $(DEVICE)

predict: $(ready) $(ray) | $(manifest) $(folds) ## OOF and test predictions, and the CV score; SHARD=0/4 a share of the rows; ON=ray SHARDS= ADDRESS= on a cluster
	$(foldline) predict $(run_args) --device $(DEVICE) $(if $(SHARD),--shard $(SHARD)) $(if $(SHARDS),--shards $(SHARDS)) $(on_args)

ensemble: $(ready) | $(predicted) ## the whole line: a submission and a report; RUNS="a b" blends runs (BLEND=weights fits how), DECIDE=default fits no labels
	$(foldline) ensemble $(run_args) $(if $(RUNS),--runs "$(RUNS)" --blend $(BLEND)) --decide $(DECIDE) $(if $(PRIOR),--prior $(PRIOR)) $(if $(WITH_DIVERGED),--with-diverged)

blend: $(ready) | $(if $(RUNS),$(predicted)) ## all ways to blend RUNS="a b c" (default: all runs), each scored on rows that it was not fitted on
	$(foldline) blend --comp $(COMP) $(if $(RUNS),--runs "$(RUNS)") $(if $(WITH_DIVERGED),--with-diverged)

score: $(ready) | $(submission) ## grade the submission on the held-out labels
	$(foldline) score --comp $(COMP) --run $(RUN) --name $(name)

report: $(ready) | $(predicted) ## write oof/COMP/RUN/report.html again
	$(foldline) report --comp $(COMP) --run $(RUN) --name $(name)

predict-files: $(ready) | $(submission) ## predict new pictures with RUN, or the ensemble RUNS="a b": FILES="a.png folder" OUT=predictions.csv
	$(foldline) predict-files --comp $(COMP) --run $(name) $(if $(OUT),--out "$(OUT)") --device $(DEVICE) $(FILES)

export: $(ready) $(if $(filter onnx,$(FORMAT)),.venv/extra-onnx) | $(submission) ## RUN as a folder that foldline.load reads anywhere, or FORMAT=onnx: HALF=1 PUSH=owner/name
	$(foldline) export $(FORMAT) --comp $(COMP) --run $(name) $(if $(OUT),--out "$(OUT)") $(if $(HALF),--half) $(if $(PUSH),--push $(PUSH)) --device $(DEVICE)

soup: $(ready) | $(predicted) ## the mean of the weights of RUNS="a b" (or of RUN and its kept start) within each fold, as a run: NAME=, GREEDY=1 chooses
	$(foldline) soup --comp $(COMP) --run $(RUN) $(if $(RUNS),--runs "$(RUNS)") $(if $(NAME),--name $(NAME)) $(if $(GREEDY),--greedy) --device $(DEVICE)

app: .venv/extra-app | $(submission) ## ask RUN, or the ensemble RUNS="a b", about pictures in the browser; browse its rows: TEST=1 shows held-out labels, PORT=
	$(foldline) app --comp $(COMP) --run $(name) --device $(DEVICE) $(if $(PORT),--port $(PORT)) $(if $(TEST),--test)

watch: $(ready) ## follow a run in the browser while it trains; TEST=1 shows test pictures
	$(foldline) watch --comp $(COMP) --run $(run) $(if $(TEST),--test)

compare: $(ready) ## runs side by side with paired differences: RUNS="a b" (default: all), AGAINST=run
	$(foldline) compare --comp $(COMP) --runs "$(RUNS)" --against "$(AGAINST)"

clean-labels: $(ready) | $(predicted) ## labels that are probably wrong: a page, and configs/COMP/labels.csv to fill in; ACTION=exclude or relabel trains by itself
	$(foldline) clean $(run_args) $(if $(ACTION),--action $(ACTION)) --device $(DEVICE)

pseudo: $(ready) | $(predicted) ## rounds of pseudo-labelled test rows, as long as the OOF score rises: ROUNDS=3 OPTIONS="soft=1 share=0.2 ratio=0.3"
	$(foldline) pseudo $(run_args) --rounds $(ROUNDS) $(if $(OPTIONS),--options "$(OPTIONS)") --device $(DEVICE)

search: .venv/extra-search $(ray) | $(manifest) $(folds) ## try settings, configs/COMP/SEARCH.search.yaml; the winner becomes a run: SEARCH=name; ON=ray
	$(foldline) search --comp $(COMP) --search "$(SEARCH)" --device $(DEVICE) $(on_args)

offline: $(ready) ## do here what a bundle's notebook does at Kaggle: INPUTS=folder
	$(foldline) offline --comp $(COMP) --name $(name) --inputs "$(INPUTS)" --device $(DEVICE)

submit: $(ready) | $(if $(KERNEL),,$(submission)) ## send the submission to Kaggle: MESSAGE="..." YES=1; KERNEL=1: the bundle, as a notebook
	$(foldline) submit --comp $(COMP) --run $(RUN) --name $(name) --message "$(MESSAGE)" $(if $(YES),--yes) \
	  $(if $(KERNEL),--kernel $(if $(FORCE),--force))

choose: $(ready) ## propose the two final submissions: the best CV, and the best different one
	$(foldline) choose --comp $(COMP)

kernel: $(ready) | $(submission) ## a notebook that predicts at Kaggle without network: HIDDEN_ROWS=50000 GPU=t4 HOURS=9, fewer FOLDS="0 1" VIEWS="identity"
	$(foldline) kernel --comp $(COMP) --name $(name) $(if $(RUNS),--runs "$(RUNS)") --gpu $(GPU) --hours $(HOURS) --device $(DEVICE) \
	  $(if $(HIDDEN_ROWS),--hidden-rows $(HIDDEN_ROWS)) $(if $(OWNER),--owner $(OWNER)) $(if $(FOLDS),--folds "$(FOLDS)") \
	  $(if $(VIEWS),--views "$(VIEWS)") $(if $(WITH_DIVERGED),--with-diverged)

rehearse: $(ready) ## run the bundle here as Kaggle would, and grade its file; FAST=1, LIMIT=seconds, MEMORY=GB, LINES=500
	$(foldline) rehearse --comp $(COMP) --run $(RUN) --name $(name) $(if $(FAST),--fast) $(if $(LIMIT),--limit $(LIMIT)) \
	  $(if $(MEMORY),--memory $(MEMORY)) $(if $(LINES),--lines $(LINES))

ledger: $(ready) ## list all submissions, or those of COMP, with their CV and leaderboard scores
	$(foldline) ledger $(if $(filter file,$(origin COMP)),,--comp $(COMP))

check: $(ready) ## check any CSV against the sample submission: FILE=my.csv
	$(foldline) check --comp $(COMP) "$(FILE)"

doctor: $(ready) ## is this machine ready? versions, device, memory, disk, network; what to mend
	$(foldline) doctor

test: $(dev) ## run all tests, and list the lines that none of them reached
	OMP_NUM_THREADS=1 $(bin)/python -m slipcover -m pytest --numprocesses 2 --dist worksteal

gpu-check: $(dev) ## is this GPU used rightly and fast? minutes; DEVICE=cpu rehearses, ONLY="d f", PAGE=docs/gpu.md keeps the table
	$(bin)/python benchmarks/gpu_check.py --device $(DEVICE) --only "$(ONLY)" $(if $(PAGE),--page $(PAGE))

faults: $(dev) ## kill, damage, fill up and cut off every stage: minutes; writes the table of docs/reliability.md
	cd tests && PYTHONPATH=. ../$(bin)/python -m faults --page ../docs/reliability.md
	cd tests && PYTHONPATH=. ../$(bin)/python -m faults.joining
	FAULTS=5 $(bin)/python -m pytest -q tests/stages/test_killed_download.py

lint: $(dev) ## ruff, mypy and audit
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy
	@$(MAKE) --no-print-directory audit

audit: $(dev) $(tools) ## known holes in the installed packages; says so where their data cannot be reached
	@{ .tools/bin/pip-audit --path "$$($(bin)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
	  --format json --progress-spinner off 2> .tools/audit.log || true; } | $(bin)/python benchmarks/audit.py

sbom: $(dev) $(tools) ## what is installed, as CycloneDX for a release: build/foldline.cdx.json
	@mkdir -p build
	.tools/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type library --output-reproducible \
	  --output-file build/foldline.cdx.json $(bin)/python
	sed -i 's#"file://[^"]*"#"file:."#' build/foldline.cdx.json

bench: $(dev) ## foldline's speed against a bare loop and fastai; PAGE=docs/performance.md keeps the table, AGAINST=commit
	$(bin)/python benchmarks/bench.py --only "$(ONLY)" $(if $(AGAINST),--against $(AGAINST)) $(if $(PAGE),--page $(PAGE))

tutorials := $(basename $(notdir $(wildcard docs/tutorials/*.md)))

docs: $(dev) ## this project's site, build/site: pages, tutorials that are run, the API; TUTORIALS= leaves them unrun
	$(bin)/python docs/site/stage.py build/site-src $(if $(filter undefined,$(origin TUTORIALS)),$(tutorials),$(TUTORIALS))
	$(bin)/python -m sphinx -q -W --keep-going -c docs/site -d build/site-cache build/site-src build/site
	$(bin)/python docs/site/check.py build/site

clean: ## delete what can be made again: image caches and tool caches; never weights, folds or submissions
	rm -rf input/*/.cache input/.caches .mypy_cache .ruff_cache .pytest_cache build src/*.egg-info
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# A variable that no goal reads is a mistake that would pass in silence (EPOCHS=3 for SET="train.epochs=3"). Whether one is
# read shows in what make would do with another value.
ifndef FOLDLINE_ASKED
given := $(foreach one,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(one)))),$(one)))
quoted = '$(subst ','\'',$(1))'
others = $(foreach one,$(filter-out $(1),$(given)),$(call quoted,$(one)=$(value $(one))))
plan = FOLDLINE_ASKED=1 MAKEFLAGS= $(MAKE) -nB --no-print-directory $(MAKECMDGOALS) $(call others,$(1)) $(1)=$(2) 2>&1
unread := $(foreach one,$(given),$(shell \
  none=$$($(call plan,$(one),)) && some=$$($(call plan,$(one),another)) && [ "$$none" = "$$some" ] && echo $(call quoted,$(one))))
ifneq ($(strip $(unread)),)
$(info error: $(strip $(unread)): nothing in 'make $(MAKECMDGOALS)' reads it, so nothing was begun)
$(info   next:  leave it out; settings of a run are given as SET="train.epochs=3"; `make help` says what each target takes)
$(error stopped)
endif
endif
