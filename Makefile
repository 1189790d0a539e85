# Every command a person needs, each with one line of help. `make` alone prints them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run test test-cluster soak check bench clean

# What is run by hand is built like what the tests ran: one profile.
PENNYBLACK := $(or $(CARGO_TARGET_DIR),target)/debug/pennyblack

help: ## Print this list.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

run: ## Build and start the demo: two domains on two nodes, accounts and commands to paste.
	@script/setup build
	cargo run --quiet -p pennyblack -- demo

test: ## Run every test, real peers and clients included (installs them first).
	@script/setup build test
	PENNYBLACK_BIN=$(abspath $(PENNYBLACK)) cargo nextest run --workspace $(if $(CI),--profile ci)

GARAGE ?= $(abspath $(or $(CARGO_TARGET_DIR),target))/garage/bin/garage
test-cluster: ## Run the tests that need Garage, a real object store (builds it first: 10 minutes).
	@script/setup build test cluster
	GARAGE=$(GARAGE) cargo nextest run -p pennyblack-store --run-ignored only -E 'test(garage)'

SEED ?= $(shell date +%s)
soak: ## Run new simulated worlds for an hour (SEED=n chooses where they begin).
	@script/setup build
	cargo run --release --quiet -p sim -- --seed $(SEED)000 --minutes 60

check: ## Format, lints, house rules and dependencies, as asked of every change.
	@script/setup build check
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo run --quiet -p xtask -- tidy
	script/deny

bench: ## Measure Pennyblack beside Postfix and Dovecot on this machine.
	@script/setup build test
	cargo build --release -p pennyblack
	cargo run --release --quiet -p pennyblack-bench -- compare
	cargo run --release --quiet -p pennyblack-bench -- hot --letters 10000 --steps 10

clean: ## Remove all that was built and all that the demo stored.
	cargo clean
	rm -rf demo-data
