# The commands of everyday. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help setup test run up down logs clean

# Either of the two will do; the files work with both.
COMPOSE ?= $(shell if command -v docker-compose >/dev/null 2>&1; then echo docker-compose; else echo docker compose; fi)

help: ## list the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: ## install what the tests need
	@.ci/setup

test: setup ## check the formatting, the lints, the tests and the documentation
	@.ci/test

run: ## start the server with its embedded source
	cargo run --release --locked

up: ## start the server with NATS, Prometheus, Alertmanager and Grafana, in containers
	$(COMPOSE) up -d --build

down: ## stop and remove the containers; their data stays
	$(COMPOSE) down

logs: ## follow the containers' logs
	$(COMPOSE) logs -f --tail=100

clean: ## stop and remove the containers and their data
	$(COMPOSE) down --volumes --remove-orphans
