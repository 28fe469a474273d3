# Two commands: `make demo` trains a policy and runs it on the virtual rig, `make test` checks everything.
PYTHON ?= python3
# Whose wheels are used for ROS 2: DISTRO=jazzy has an environment of its own, and builds ros2_ws anew.
DISTRO ?= kilted
VENV ?= .venv$(if $(filter-out kilted,$(DISTRO)),-$(DISTRO))
OUT ?= runs/demo
BIN = $(VENV)/bin
LUNAR = $(BIN)/lunar

# POLICY=zoo uses the shipped policy instead of training one.
ifeq ($(POLICY),zoo)
DEMO_POLICY = policy/zoo/pronk
TRAINED =
SAVE =
else
DEMO_POLICY = $(OUT)/policy
TRAINED = "lunar $(TRAIN)"
SAVE = --save
endif

TRAIN = train --out $(DEMO_POLICY) --overwrite --json $(OUT)/train.json
EVAL = $(strip eval $(DEMO_POLICY) $(SAVE) --picture $(OUT)/hop.png --json $(OUT)/eval.json)
HIL = hil $(DEMO_POLICY) --log $(OUT)/log --json $(OUT)/hil.json
REPLAY = replay $(OUT)/log --out $(OUT)/report.html --json $(OUT)/replay.json

# Containers often set it; then each of the tests' hundreds of processes compiles torch's and SciPy's sources anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test docs lint setup ros clean

demo: setup ros
ifneq ($(POLICY),zoo)
	$(LUNAR) $(TRAIN)
endif
	$(LUNAR) $(EVAL)
	rm -rf $(OUT)/log
	$(LUNAR) $(HIL)
	$(LUNAR) $(REPLAY)
	@echo "All of it on one page:"
	@$(BIN)/python examples/demo_page.py $(OUT) $(TRAINED) "lunar $(EVAL)" "lunar $(HIL)" "lunar $(REPLAY)"

test: setup
	$(MAKE) -j2 --output-sync=target ros lint
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not wall_clock"
	$(BIN)/python -m pytest -m wall_clock

# The documentation as a site in runs/docs, served on this computer alone.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve --dev-addr 127.0.0.1:8000

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt .ci/setup
	PYTHON=$(PYTHON) VENV=$(VENV) DISTRO=$(DISTRO) sh .ci/setup
	touch $@

ros: setup
	$(BIN)/python ros2_ws/build.py || test $$? -eq 3

clean:
	rm -rf $(VENV) runs ros2_ws/build ros2_ws/install ros2_ws/log
