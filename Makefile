# The commands of a person at the keyboard. CMake does the work; see CMakePresets.json for the builds.
JOBS ?= $(shell nproc)
HADAL := build/release/apps/hadal/hadal
RANDOM_CHECKPOINT := build/random-checkpoint

.DEFAULT_GOAL := build
.PHONY: setup setup-dev configure build run test bench

# Installs the Debian packages of the build; quick when they are all there.
setup:
	@tools/install_packages tools/debian-packages.txt

# Adds the tools of a contributor: formatter, linter, fuzzer.
setup-dev: setup
	@tools/install_packages tools/debian-packages-dev.txt

build/release/build.ninja:
	cmake --preset release

build: setup build/release/build.ninja
	cmake --build --preset release -j$(JOBS)

# Answers a prompt. The checkpoint is a random one of a very small configuration without a tokenizer: token ids in and out.
run: build
	@test -e $(RANDOM_CHECKPOINT)/config.json || \
	  $(HADAL) init $(RANDOM_CHECKPOINT) --config tests/golden/tiny-base/checkpoint/config.json
	@echo "The checkpoint in $(RANDOM_CHECKPOINT) is random: the text below shows that the program runs, no more."
	$(HADAL) run $(RANDOM_CHECKPOINT) --max-tokens 32 "1 2 3"

# All tests but those of the label slow.
test: build
	ctest --test-dir build/release -LE slow -j$(JOBS) --output-on-failure

# Every benchmark program, one after the other, on an otherwise idle machine.
bench: setup
	cmake --preset bench
	cmake --build --preset bench -j$(JOBS)
	@set -e; for program in $$(find build/bench/bench -type f -executable -name '*_bench' | sort); do \
	  echo "== $$program"; $$program; done
