# The front door. Every target is one line; `make` alone prints this list.
.DEFAULT_GOAL := help
.PHONY: help demo up down status logs doctor test test-long test-compose test-dashboards test-dashboards-compose test-traces chaos-soak lint bench-gateway bench-flags bench-telemetry bench-statistics dashboards lock clean
COSTLAB := .venv/bin/costlab
PYTEST := .venv/bin/python -m pytest
TOGETHER := -n 3 --dist loadgroup --no-loadscope-reorder
READY := .venv/.ready

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-23s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## two minutes: what is a cache worth? starts everything, measures, prints the verdict, stops everything
	@$(COSTLAB) demo

up: $(READY) ## start the local stack (PostgreSQL, Redis, five services; Prometheus, Grafana, Jaeger where found) in the background
	@$(COSTLAB) up

down: $(READY) ## stop the local stack; its data stays
	@$(COSTLAB) down

status: $(READY) ## health, pid, port, CPU and memory of each service, and the addresses to open
	@$(COSTLAB) status || test $$? -eq 3

logs: $(READY) ## what the services say; Ctrl-C to leave
	@$(COSTLAB) logs --follow

doctor: $(READY) ## what this machine has, and how to get what it lacks
	@$(COSTLAB) doctor

test: $(READY) lint ## the suite in three processes, on stacks of its own; also while `make up` is running
	@$(PYTEST) $(TOGETHER) -m "not long"

test-long: $(READY) ## the rest of it: stacks taken apart and put together again, and whole runs of the lab
	@$(PYTEST) $(TOGETHER) -m long

test-compose: $(READY) ## the Compose stack on a real Docker engine
	@COSTLAB_TEST_COMPOSE=1 $(PYTEST) tests/compose

test-dashboards: $(READY) ## every query of every panel, exemplars, k6, and each alert under its fault, by a real Prometheus (Debian package)
	@COSTLAB_TEST_DASHBOARDS=1 $(PYTEST) tests/e2e/test_dashboards.py tests/e2e/test_alerts.py

test-dashboards-compose: $(READY) ## the same queries of the Prometheus in the Compose stack, on a real Docker engine
	@COSTLAB_TEST_COMPOSE=1 COSTLAB_TEST_DASHBOARDS=1 $(PYTEST) tests/compose/test_dashboards.py

test-traces: $(READY) ## the trace of every route, as a real Jaeger has it (built first, in minutes, where there is none)
	@infra/jaeger/install.sh && COSTLAB_TEST_TRACES=1 $(PYTEST) tests/e2e/test_traces.py

chaos-soak: $(READY) ## 100 random fault sequences on a stack of its own; well again after each, no order lost, at most 15 min
	@$(COSTLAB) chaos soak

lint: $(READY) ## formatting and lint
	@.venv/bin/ruff check -q && .venv/bin/ruff format -q --check

bench-gateway: $(READY) ## CPU and latency the gateway adds, against nginx, in one interleaved run
	@.venv/bin/python -m benchmarks.gateway

bench-statistics: $(READY) ## false alarms, coverage and power of the verdicts, by simulated experiments whose truth is known
	@.venv/bin/python -m benchmarks.lab_statistics

bench-flags: $(READY) ## what a rate limit through Redis adds, and what every mechanism costs that is switched off
	@.venv/bin/python -m benchmarks.flags

bench-telemetry: $(READY) ## what metrics, logs and 1/16 of the traces cost in CPU, all on against all off, interleaved
	@.venv/bin/python -m benchmarks.telemetry

dashboards: $(READY) ## write dashboards/*.json and the rules of the prices from their sources
	@.venv/bin/python -m dashboards

lock: $(READY) ## pin and hash the newest allowed versions of every dependency
	@infra/requirements/lock.sh

clean: ## remove the virtual environment, the stack's data and every run that was not kept
	@test ! -x $(COSTLAB) || $(COSTLAB) down --volumes; rm -rf .venv .costlab runs

$(READY): infra/requirements/dev.txt pyproject.toml infra/bootstrap.sh
	@infra/bootstrap.sh && touch $@
