# One command for each thing; `make` alone lists them.

CARGO ?= cargo
export CARGO_TERM_PROGRESS_WHEN ?= auto

demo_flags := $(if $(VIDEO),--video "$(VIDEO)") $(if $(CAMERA),--camera "$(CAMERA)") $(if $(DEMO_SECONDS),--seconds "$(DEMO_SECONDS)")

.DEFAULT_GOAL := help
.PHONY: help deps test-deps build demo test train bench fmt lint doc check clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what building and running needs (Debian packages, ONNX Runtime in .deps/)
	@scripts/packages.sh run
	@scripts/onnxruntime.sh

test-deps: deps ## and what the tests need
	@scripts/packages.sh test
	@scripts/axe.sh || echo 'axe-core could not be fetched: the tests do not check the pages for accessibility.' >&2

build: deps ## the release binary, target/release/gatewatch
	$(CARGO) build --release --locked

demo: build ## simulated cameras, broker, agent and page; VIDEO=file CAMERA=rtsp://... DEMO_SECONDS=60
	@exec target/release/gatewatch demo $(demo_flags)

test: test-deps ## all tests
	$(CARGO) test --locked

train: ## train the detector: TRAIN_DATA=folder, see models/training/README.md
	@test -x models/training/train.sh || { echo 'models/training/train.sh is not here'; exit 1; }
	@models/training/train.sh

bench: build ## what a camera costs beside bare GStreamer: CLIP=recording.mp4, see benches/cost/README.md
	@benches/cost/bench.sh "$(CLIP)"

fmt: ## format the code
	$(CARGO) fmt

lint: ## clippy, warnings are errors
	$(CARGO) clippy --locked --all-targets -- -D warnings

doc: ## the code's documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

check: ## everything that must be clean before a change is handed in
	$(CARGO) fmt --check
	@$(MAKE) --no-print-directory lint doc test

clean: ## remove what was built; .deps stays
	$(CARGO) clean
