# The commands of everyday. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help setup test run

help: ## list the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: ## install what the tests need: nats-server, promtool, chromium, node, cargo-nextest
	@.ci/setup

test: setup ## check the formatting, the lints, the tests and the documentation
	@.ci/test

run: ## start the server with its embedded source
	cargo run --release --locked
