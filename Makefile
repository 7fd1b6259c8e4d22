# The commands of a person at the keyboard. CMake does the work; see CMakePresets.json for the builds.
JOBS ?= $(shell nproc)
HADAL := build/release/apps/hadal/hadal

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

# Answers a prompt with nano, the small model that ships beside the program.
run: build
	$(HADAL) run nano "Hello, who are you?"
	@echo "Talk with it: $(HADAL) chat"

# All tests but those of the label slow.
test: build
	ctest --test-dir build/release -LE slow -j$(JOBS) --output-on-failure

# Every benchmark program, one after the other, on an otherwise idle machine.
bench: setup
	cmake --preset bench
	cmake --build --preset bench -j$(JOBS)
	@set -e; for program in $$(find build/bench/bench -type f -executable -name '*_bench' | sort); do \
	  echo "== $$program"; $$program; done
