# Triptych: two commands on a fresh machine (Debian 12 or Ubuntu: python3 with venv, git, make; nothing else).
#   make demo [ARGS="--exit --json FILE"]     everything on this machine, with searches, on http://127.0.0.1:8000
#   make test [ARGS="-k search"]              lint, types, import rules and all tests, on real services

BIN := .venv/bin
unexport PYTHONDONTWRITEBYTECODE  # tests start hundreds of processes: each would compile all of ours again
.PHONY: demo test lint setup clean lock

demo: setup
	@exec $(BIN)/python examples/shop/demo.py $(ARGS)

test: lint
	@scripts/browser.sh
	$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup:
	@scripts/setup.sh $(PYTHON)

# Pin everything again after a change of the dependencies in pyproject.toml.
lock: setup
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes --no-header --no-annotate \
		-c constraints.txt pyproject.toml -o requirements.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
