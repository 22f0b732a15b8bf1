"""The sweeps that we ship: each loads, plans and costs what its head says; the schema knows all."""

from pathlib import Path

import jsonschema
import pytest

from orchestrator.planning import costs, plan
from orchestrator.store.store import Store
from orchestrator.sweep import schema, starter, sweep_spec
from orchestrator.sweep.problems import Problems
from orchestrator.sweep.yaml_text import compose
from trainer.spec import TrialSpec

FOLDER = Path(sweep_spec.__file__).parents[2] / "sweeps"
FILES = sorted(FOLDER.glob("*.yaml"))
TRIALS = {
    "all_but_bn": 120,
    "bn_init": 240,
    "cifar10-small": 2,
    "depth": 105,
    "depth_width": 80,
    "fair_rates": 48,
    "gamma_beta": 80,
    "gammas": 120,
    "imagenet_all_but_bn": 30,
    "imagenet_depth": 45,
    "imagenet_width": 18,
    "outputs_shortcuts": 300,
    "paul_batch_sizes": 12,
    "paul_frozen": 6,
    "paul_optimizers": 12,
    "paul_schedules": 24,
    "paul_subset": 12,
    "quickstart": 12,
    "random_k": 150,
    "relus": 180,
    "reproduction": 16,
    "smoke": 2,
    "training_curves": 15,
    "vgg": 60,
    "weight_init": 240,
    "width": 90,
}


def plain(node):
    """What a YAML 1.2 editor sees: the values without their places."""
    if isinstance(node.value, dict):
        return {key: plain(value) for key, value in node.value.items()}
    return [plain(item) for item in node.value] if isinstance(node.value, list) else node.value


def contents(text):
    return plain(compose(text, "f", Problems()))


def cost_line(trials):
    """The line that a sweep's head has about its costs."""
    operations = sum(costs.training_flops(trial) for trial in trials)
    memory = max(costs.memory_bytes(trial) for trial in trials) / 1e9
    return (
        f"# Costs: {len(trials)} trials, {operations:.1e} operations, "
        f"at most {memory:.2f} GB for one trial."
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_plans_to_its_number_of_trials_and_is_called_as_its_file(path, tmp_path):
    planned = plan.make(sweep_spec.load(path), Store(tmp_path))
    assert planned.sweep == path.stem
    assert len(planned.to_run) == TRIALS[path.stem]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_head_says_what_it_makes_and_what_it_costs(path):
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert len(head) >= 2
    assert head[-1] == cost_line(sweep_spec.load(path).trials)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_schema_accepts_it(path):
    jsonschema.validate(contents(path.read_text()), schema.document())


def test_every_shipped_sweep_is_pinned_and_in_the_table_of_the_readme():
    assert {path.stem for path in FILES} == TRIALS.keys()
    readme = (FOLDER / "README.md").read_text()
    for name, trials in TRIALS.items():
        assert f"| [{name}]({name}.yaml) | {trials} |" in readme


def test_the_readme_has_an_example_for_every_key_and_field():
    readme = (FOLDER / "README.md").read_text()
    for name in (*schema.document()["properties"], *TrialSpec.model_fields, "weights_file"):
        assert f"`{name}`" in readme


def test_the_examples_of_the_readme_load():
    blocks = (FOLDER / "README.md").read_text().split("```yaml\n")[1:]
    assert blocks
    for block in blocks:
        text = block.split("```")[0]
        assert sweep_spec.parse(text, "README.md").trials
        jsonschema.validate(contents(text), schema.document())


def test_the_papers_numbers_stand_in_the_plan_of_depth(tmp_path):
    rows = plan.make(sweep_spec.load(FOLDER / "depth.yaml"), Store(tmp_path)).to_json()["trials"]
    (counts,) = {
        (row["params_total"], row["params_trainable"])
        for row in rows
        if row["depth"] == 866 and row["trainable"] == "bn_only"
    }
    assert counts == (13_979_930, 64_736)


def test_gammas_and_relus_train_nothing_that_depth_and_width_have_not():
    def ids(*names):
        return {
            t.trial_id for name in names for t in sweep_spec.load(FOLDER / f"{name}.yaml").trials
        }

    assert ids("gammas") < ids("relus") <= ids("depth", "width")


def test_the_schema_is_one_and_refuses_what_the_reader_refuses():
    jsonschema.Draft202012Validator.check_schema(schema.document())
    wrong = [
        "{}",
        "{name: A b}",
        "{name: a, axes: {}}",
        "{name: a, axes: {depth: 14}}",
        "{name: a, axes: {dpeth: [14]}}",
        "{name: a, base: {trainable: al}}",
        "{name: a, base: {seed: 1}}",
        "{name: a, seeds: 0}",
        "{name: a, resources: {gpus: 65}}",
        "{name: a, sample: {count: 8}}",
        "{name: a, sample: {count: 0, of: {lr: [1, 2]}}}",
        "{name: a, sample: {count: 2, of: {}}}",
        "{name: a, sample: {count: 2, of: {lr: {log: [1]}}}}",
        "{name: a, sample: {count: 2, of: {lr: {lgo: [1, 2]}}}}",
        "{name: a, sample: {count: 2, of: {lr: {log: [1, 2], uniform: [1, 2]}}}}",
        "{name: a, sample: {count: 2, of: {optimizer: {log: [1, 2]}}}}",
    ]
    for text in wrong:
        assert not jsonschema.Draft202012Validator(schema.document()).is_valid(contents(text))
        with pytest.raises(sweep_spec.SweepError):
            sweep_spec.parse(text, "f.yaml")


def test_the_starter_sweep_loads_under_the_name_it_is_given():
    started = sweep_spec.parse(starter.text("first"), "first.yaml")
    assert (started.name, len(started.trials)) == ("first", 8)
    jsonschema.validate(contents(starter.text()), schema.document())


def test_the_commented_parts_of_the_starter_sweep_are_valid_too():
    lines = starter.text().splitlines()
    parts = ("# paired", "#   - {lr", "# sample", "# exclude", "# include")
    text = "\n".join(line[2:] if line.startswith(parts) else line for line in lines)
    assert len(sweep_spec.parse(text, "f.yaml").trials) == (3 * 2 * 8 + 1 + 2 * 2) * 2
    jsonschema.validate(contents(text), schema.document())
