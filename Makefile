# The commands of the project. `make` alone lists them; CI runs `make check` and nothing else.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := node_modules/.bin
# npm reads nothing but the project's own settings and writes nothing but its cache.
NPM := npm --no-update-notifier --loglevel=error

INSTALLED := node_modules/.package-lock.json
GENERATED := src/contract/.generated
BUILT := dist/.built

.PHONY: help setup generate build dev demo doctor test test-core interop chaos bench-stream bench-plan bench-cache bench-executor \
        check static format lint types buf breaking baseline fresh schema schema-check operators operators-check examples clean-checkout \
        migration clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- a clone becomes a running system ---------------------------------------------------------------------------------

setup: $(BUILT) ## install, generate and build

$(INSTALLED): package-lock.json package.json
	@scripts/require-node.sh
	@echo "installing packages (once)"
	@$(NPM) ci
	@touch $@

generate: $(GENERATED) ## make src/contract from proto/

$(GENERATED): $(INSTALLED) buf.yaml buf.gen.yaml $(shell find proto -name '*.proto')
	@scripts/generate.sh src/contract
	@touch $@

build: $(BUILT) ## compile to dist/

$(BUILT): $(GENERATED) tsconfig.json tsconfig.build.json $(shell find src migrations -path src/contract -prune -o -type f -print)
	@scripts/build.sh
	@touch $@

dev: $(BUILT) ## run server, embedded Postgres and one executor until Ctrl-C
	@node bin/postern.js dev

demo: $(BUILT) ## run a real workflow on an executor that holds no database credential
	@node bin/postern.js demo

doctor: $(BUILT) ## tell what this machine has and lacks
	@node bin/postern.js doctor

# --- tests ------------------------------------------------------------------------------------------------------------

test: $(BUILT) ## run every test, real Postgres included (ARGS=… goes to mocha)
	@scripts/python-packages.sh
	@$(BIN)/mocha $(ARGS)

test-core: $(GENERATED) ## run the tests of the pure part only
	@$(BIN)/mocha 'test/core/**/*.test.ts' $(ARGS)

interop: $(BUILT) ## prove the contract with a client and an executor of another toolchain (Python)
	@node bin/postern.js conformance --mode pool --strict --jobs 2 --timeout 60 --executor 'exec node bin/postern.js executor'
	@test/interop/run.sh

bench-stream: $(BUILT) ## measure streams, watchers and calls beside their limits (ARGS="--only durable --rounds 5")
	@$(BIN)/tsc -p bench/tsconfig.json
	@cp src/contract/postern.binpb .build/bench/src/contract/
	@node .build/bench/bench/stream/main.js $(ARGS)

bench-plan: $(BUILT) ## measure schedules and fingerprints beside brute force and classic searches (ARGS="--quick")
	@$(BIN)/tsc -p bench/tsconfig.json
	@node .build/bench/bench/plan/main.js $(ARGS)

bench-cache: $(BUILT) ## measure lookups, reuse and sharing beside their limits (ARGS="--only lookup --rounds 3")
	@$(BIN)/tsc -p bench/tsconfig.json
	@cp src/contract/postern.binpb .build/bench/src/contract/
	@node --max-semi-space-size=64 .build/bench/bench/cache/main.js $(ARGS)

bench-executor: $(BUILT) ## measure the engine and user code beside work by hand (ARGS="--only relational --rounds 5")
	@$(BIN)/tsc -p bench/tsconfig.json
	@cp src/contract/postern.binpb .build/bench/src/contract/
	@find src/executor/user-code -type f ! -name '*.ts' -exec cp --parents {} .build/bench/ \;
	@scripts/python-packages.sh && scripts/python-packages.sh bench
	@node .build/bench/bench/executor/main.js $(ARGS)

chaos: $(BUILT) ## kill, freeze and cut real processes, then compare (ARGS="--seed S --kills N"; docs/testing.md)
	@node --import tsx test/chaos/chaos.ts $(ARGS)

# --- what CI runs -----------------------------------------------------------------------------------------------------

check: static interop clean-checkout ## everything CI checks, in one command

static: format lint types buf breaking fresh schema-check operators-check ## all checks that run no test

format: $(INSTALLED) ## check the format (make format FIX=--write to mend it)
	@$(BIN)/biome format $(FIX) .

lint: $(GENERATED) ## check the rules of the code
	@$(BIN)/biome check --formatter-enabled=false --error-on-warnings .

types: $(GENERATED) ## check the types
	@$(BIN)/tsc -p tsconfig.json

buf: $(INSTALLED) ## check the style of the contract
	@$(BIN)/buf lint

breaking: $(INSTALLED) ## check that the contract still fits proto/baseline.binpb
	@$(BIN)/buf breaking --against proto/baseline.binpb

baseline: breaking ## make today's contract, if it breaks nothing, the one to be kept
	@$(BIN)/buf build --exclude-source-info -o proto/baseline.binpb

fresh: $(GENERATED) ## check that src/contract is what proto/ says
	@scripts/generate.sh .build/contract
	@diff -r --exclude=.generated .build/contract src/contract

schema: $(GENERATED) ## write migrations/schema.sql from the migrations
	@$(BIN)/tsx src/dev/write-schema.ts

schema-check: $(GENERATED) ## check that migrations/schema.sql is what the migrations make
	@$(BIN)/tsx src/dev/write-schema.ts --check

operators: $(GENERATED) ## write docs/operators.md and the tables of docs/texera.md from the definitions
	@$(BIN)/tsx src/dev/write-operators.ts
	@$(BIN)/tsx src/dev/write-texera.ts

operators-check: $(GENERATED) ## check that these pages are what the definitions say
	@$(BIN)/tsx src/dev/write-operators.ts --check
	@$(BIN)/tsx src/dev/write-texera.ts --check

clean-checkout: ## run `make test` as a newcomer does: a clean copy, an empty package cache
	@scripts/clean-checkout.sh make test

# --- odds and ends ----------------------------------------------------------------------------------------------------

migration: ## start a migration: make migration name=add_lease_epoch
	@scripts/new-migration.sh "$(name)"

clean: ## remove everything that was made
	rm -rf dist .build src/contract node_modules
