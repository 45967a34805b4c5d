# The commands of this repository. Each first installs what it needs (tools/setup.sh: only what is missing).
.DEFAULT_GOAL := help
.PHONY: help build demo test bench lint format fuzz clean
.NOTPARALLEL:

help:
	@echo 'make build    build/release/tenon, the command line tool'
	@echo 'make demo     fetch small real models, build them, time them beside ONNX Runtime, run them on pictures'
	@echo 'make test     everything CI runs: checks, unit tests, sanitizers, fuzzing (30 to 45 minutes on 2 cores)'
	@echo 'make bench    the models of ../shared beside ONNX Runtime and OpenVINO, on this machine'
	@echo 'make lint     clang-tidy over changed files                 (ALL=1: over all)'
	@echo 'make format   clang-format over all files'
	@echo 'make fuzz     libFuzzer targets                             (SECONDS_EACH=60)'
	@echo 'make clean    remove build/ (the downloads in .cache/ stay)'

build:
	@tools/setup.sh --for build
	@tools/build.sh release tenon
	@echo 'Built build/release/tenon. Next: make demo, or build/release/tenon --help'

demo:
	@tools/setup.sh --for build --for demo
	@tools/demo.sh

test:
	@tools/setup.sh --for build --for test --for fuzz
	@tools/test.sh

bench:
	@tools/setup.sh --for build --for demo
	@tools/bench.sh

lint:
	@tools/setup.sh --for build --for test --for lint
	@tools/lint.sh $(if $(ALL),--all)

format:
	@tools/setup.sh --for test
	@tools/format.sh

fuzz:
	@tools/setup.sh --for build --for fuzz
	@tools/fuzz.sh $(or $(SECONDS_EACH),60)

clean:
	rm -rf build
