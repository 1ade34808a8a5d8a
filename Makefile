# Everything works on a fresh machine with Python >= 3.11 and make: each target sets up what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= 2
DEMO ?= demo
PORT ?= 8000
MINUTES ?= 10
SITE ?= site
DEVICE ?= cuda
# Small networks train several times slower with two torch threads than with one; parallelism goes across runs.
export OMP_NUM_THREADS ?= 1

PACKAGES = $(filter-out %/tests %/experiments %/benchmarks,$(patsubst %/__init__.py,%,$(wildcard $(CURDIR)/*/__init__.py)))
GRIDS := last_table baselines regimes combined stacks saw meta features
RUNS ?= runs/results
OURS ?= runs/ours
CIFAR ?= runs/cifar
EARLY ?= runs/early
EMERGENCE ?= runs/emergence

.PHONY: help setup serve demo browser test test-all torture bench zoo gpu lint format results thesis publish report example predictor ours early emergence cifar table docs clean
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.complete ## the virtual environment with all that development needs

$(VENV)/.complete: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "scratchcard needs Python 3.11 or newer; $(PYTHON) is older. Use: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@mkdir -p $(VENV)/checkout && ln -sfn "$(CURDIR)" $(VENV)/checkout/scratchcard # where mypy finds the packages
	@touch $@

serve: setup ## the service, with the shipped predictors, on this machine alone: http://127.0.0.1:8000 (PORT=8080 for another)
	$(BIN)/scratchcard serve --port $(PORT)

demo: setup ## the whole job on the embedded digits task: table, predictor, tickets, comparison, picture
	$(BIN)/scratchcard demo --out $(DEMO)

browser: ## Chromium and its driver for the tests of report and page, where they are missing (Debian, as root or by sudo)
	@command -v chromedriver >/dev/null && { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null || \
		{ run=$$([ "$$(id -u)" = 0 ] || echo sudo); $$run apt-get update -q && $$run apt-get install -qy chromium chromium-driver; }

test: setup ## the quick tests
	$(BIN)/python -m pytest -n $(JOBS) -m 'not slow and not cuda'

test-all: setup ## all tests, the slow ones on real data too
	$(BIN)/python -m pytest -n $(JOBS)

torture: setup ## damaged files for every reader; kills, full disks, flipped bits, leaping clocks (MINUTES=10 each)
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES)
	$(BIN)/python -m tests.torture --minutes $(MINUTES)

bench: setup ## speed and memory, as ratios in one run
	$(BIN)/python -m benchmarks

zoo: setup ## everything done with 85 networks of all kinds: docs/zoo.md (hours; goes on where it stopped)
	$(BIN)/python -m experiments.zoo --jobs $(JOBS)

gpu: ## on a machine with a GPU: its tests and what it is worth, on one page (WHEELS=folder where packages are missing)
	env -u OMP_NUM_THREADS $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m benchmarks.gpu --device $(DEVICE) \
		$(if $(WHEELS),--wheels $(WHEELS)) $(if $(OUT),--out $(OUT))

lint: setup ## style, types, import order
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=$(VENV)/checkout $(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

results: setup ## re-create the tables of README and docs/findings.md (about an hour; finished runs are reused)
	$(BIN)/python -m experiments.publish experiments/mnist_baselines.toml --jobs $(JOBS)
	$(BIN)/python -m experiments.mnist_predictors --jobs $(JOBS)
	$(BIN)/python -m experiments.gbm_settings --jobs $(JOBS)
	$(BIN)/python -m experiments.noise_ceiling --jobs $(JOBS)
	$(BIN)/python -m experiments.raw_inputs --jobs $(JOBS)

thesis: setup ## the source thesis' experiments as grids, on MNIST and Fashion-MNIST (hours; finished runs are reused)
	for grid in $(GRIDS:%=thesis_%) stack_rounds imp_paths fashion_baselines fashion_stacks fashion_saw; do \
		$(BIN)/scratchcard sweep experiments/$$grid.toml --out $(RUNS) --jobs $(JOBS) || exit 1; done
	$(BIN)/scratchcard sweep experiments/thesis_anatomy.toml --out $(RUNS) --jobs $(JOBS) --keep-tickets
	$(MAKE) publish

publish: setup ## tables and Parquet files of what `make thesis` has run so far, and the report
	$(BIN)/scratchcard results $(RUNS) --overwrite --out results/thesis/runs.parquet
	$(BIN)/scratchcard anatomy $(RUNS) --overwrite --out results/thesis/anatomy.parquet > results/thesis/anatomy.txt
	$(BIN)/python -m experiments.tables $(RUNS) --out results/thesis
	$(MAKE) report

example: demo ## docs/example_report.html, from the demo's results
	$(BIN)/scratchcard report $(DEMO)/results --title "The demo: tickets of one density on digits" --overwrite --out docs/example_report.html

report: setup ## docs/report.html: one page of all published results, the shipped predictor's among them
	$(BIN)/scratchcard report results/thesis/runs.parquet results/ours/runs.parquet \
		--anatomy results/thesis/anatomy.parquet --title "Everything that was run" --overwrite --out docs/report.html

predictor: setup ## refit the predictors that are shipped, from nothing (two hours; goes on where it stopped)
	$(BIN)/python -m experiments.default_predictor --jobs $(JOBS) --runs $(RUNS)
	$(BIN)/python -m experiments.early_policy --jobs $(JOBS) --runs $(RUNS)

ours: setup ## the shipped predictor beside all rivals, and its ablation: grids, tables (hours; finished runs are reused)
	$(BIN)/python -m experiments.ablation --jobs $(JOBS) --runs $(RUNS)
	for grid in fashion shapes digits mnist rivals conv ablation; do \
		$(BIN)/scratchcard sweep experiments/ours_$$grid.toml --out $(OURS) --jobs $(JOBS) || exit 1; done
	$(BIN)/scratchcard results $(OURS) --overwrite --out results/ours/runs.parquet
	$(BIN)/python -m experiments.tables $(OURS) --out results/ours
	$(BIN)/python -m experiments.publish experiments/ours_mnist.toml --runs $(OURS) --density 0.005 --floor 80 --passes --results results/cost
	$(BIN)/python -m experiments.publish experiments/ours_fashion.toml --runs $(OURS) --density 0.005 --floor 70 --passes --results results/cost
	$(MAKE) report

early: setup ## early searches, their rivals and checks, and rounds before training (some hours; finished runs are reused)
	for grid in early_mnist early_fashion early_learned_mnist early_learned_fashion early_densities_mnist early_densities_fashion \
			early_rivals early_rivals_fashion early_lenet_5 upfront_rounds; do \
		$(BIN)/scratchcard sweep experiments/$$grid.toml --out $(EARLY) --jobs $(JOBS) || exit 1; done
	$(BIN)/python -m experiments.early_sanity --jobs $(JOBS) --runs $(RUNS)
	$(BIN)/scratchcard results $(EARLY) --overwrite --out results/early/runs.parquet
	$(BIN)/python -m experiments.tables $(EARLY) --out results/early

emergence: setup ## when is the mask there? Tickets whose mask was taken along one training (an hour on one core; needs MNIST, and CIFAR as below)
	for grid in mnist digits conv_6 lenet_5 vgg_19 mnist_slow; do \
		$(BIN)/scratchcard sweep experiments/emergence_$$grid.toml --out $(EMERGENCE) --jobs $(JOBS) || exit 1; done
	$(BIN)/scratchcard results $(EMERGENCE) --overwrite --out results/emergence/runs.parquet
	$(BIN)/python -m experiments.tables $(EMERGENCE) --out results/emergence
	$(BIN)/python -m experiments.emergence experiments/emergence_*.toml --runs $(EMERGENCE)

cifar: setup ## Conv-4 and ResNet-20 on a subset of CIFAR-10 (a night; SCRATCHCARD_DATA names the folder above cifar10/cifar10-subset.zip)
	for network in conv_4 early resnet_20; do \
		$(BIN)/scratchcard sweep experiments/cifar_$$network.toml --out $(CIFAR) --jobs $(JOBS) || exit 1; done
	$(BIN)/scratchcard results $(CIFAR) --overwrite --out results/cifar/runs.parquet
	$(BIN)/python -m experiments.tables $(CIFAR) --out results/cifar

table: setup ## the table and the pictures of README, from the committed records (a minute; needs MNIST and Fashion-MNIST)
	$(BIN)/python -m experiments.front
	$(BIN)/python -m experiments.budgets

docs: setup ## the site, in site/: pages, cards of all methods, API reference; warnings are errors
	@rm -rf $(VENV)/pages && mkdir -p $(VENV)/pages/scratchcard # the packages alone: the whole checkout takes ten times as long
	@ln -s $(CURDIR)/*.py $(PACKAGES) $(VENV)/pages/scratchcard/
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=$(VENV)/pages $(BIN)/mkdocs build --strict --quiet --site-dir $(SITE)

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) dist demo site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
