# Every target sets up what it needs: a fresh clone and Python 3.11 are enough.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint types bench wheel clean

# Two builds of training data; then translate-test with a tagger trained here, beside taggers trained on those builds.
# The taggers learn nothing from the sentences that they are tested on, nor from their translations.
HELD_OUT := --without data/samples/entities.de.jsonl
demo: $(READY)
	$(BIN)/spanferry build data/samples/demo-entities.yaml
	$(BIN)/spanferry build data/samples/demo-slots.yaml
	$(BIN)/python docs/show_demo.py out/demo-entities out/demo-slots
	$(BIN)/spanferry models train-tagger data/samples/entities.en.jsonl out/demo-taggers/en --language en $(HELD_OUT)
	$(BIN)/spanferry build data/samples/demo-predict.yaml
	$(BIN)/python docs/show_demo.py out/demo-predicted
	for language in de es; do \
	  $(BIN)/spanferry models train-tagger out/demo-entities/data/$$language/train-00000-of-00001.parquet \
	    out/demo-taggers/$$language --language $$language $(HELD_OUT) && \
	  $(BIN)/spanferry predict data/samples/entities.$$language.jsonl out/demo-taggers/$$language.jsonl \
	    --language $$language --predictor spacy --model out/demo-taggers/$$language || exit 1; \
	done
	$(BIN)/spanferry compare out/demo-entities out/demo-predicted --predictions 'out/demo-taggers/{language}.jsonl'

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

types: $(READY)
	$(BIN)/mypy

# What needs gold data says in docs/ or in its own head how it is run.
ON_GOLD := alignment attention_heads markers projection sentence_boundaries
bench: $(READY)
	for script in $(filter-out $(ON_GOLD:%=benchmarks/%.py),$(wildcard benchmarks/*.py)); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

wheel: $(READY)
	$(BIN)/python -m build --wheel --outdir dist

clean:
	rm -rf $(VENV) build dist out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# eflomal is an extra that compiles C: where that fails, everything else works and its tests say why they skip.
# Without warnings: setuptools has one for the folders' names in every editable install.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt eflomal || echo 'eflomal was not built (no C compiler?): skipped'
	touch $@
