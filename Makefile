# The commands of everyday. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help setup test fuzz audit run bench plots up down logs clean

# Either of the two will do; the files work with both.
COMPOSE ?= $(shell if command -v docker-compose >/dev/null 2>&1; then echo docker-compose; else echo docker compose; fi)

help: ## list the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: ## install what the tests need
	@.ci/setup

test: setup ## check the formatting, the lints, the tests and the documentation
	@.ci/test

fuzz: ## fuzz every target (MINUTES=n each, JOBS=n at once, ONLY=target,target)
	@MINUTES='$(MINUTES)' JOBS='$(JOBS)' ONLY='$(ONLY)' .ci/fuzz

audit: ## look for known holes in what the program is made of; needs github.com
	@.ci/audit

run: ## start the server with its embedded source
	cargo run --release --locked

# The server and the bench are built apart: what one of them wants of a dependency is not for the other.
bench: ## measure the server beside the least that one could do (ONLY=case,case RUNS=n), and the machines by themselves
	cargo build --release --locked -p odin-shell
	cargo run --release --locked -p odin-bench -- run --only '$(ONLY)' --runs $(or $(RUNS),5)
	$(if $(ONLY),,cargo bench --locked -p odin-core -- --quick)

plots: ## draw the plots of docs/PERFORMANCE.md
	cargo build --release --locked -p odin-shell
	cargo run --release --locked -p odin-bench -- curve --plots docs/performance
	cargo run --release --locked -p odin-bench -- scale --plots docs/performance

up: ## start the server with NATS, Prometheus, Alertmanager and Grafana, in containers
	$(COMPOSE) up -d --build

down: ## stop and remove the containers; their data stays
	$(COMPOSE) down

logs: ## follow the containers' logs
	$(COMPOSE) logs -f --tail=100

clean: ## stop and remove the containers and their data
	$(COMPOSE) down --volumes --remove-orphans
