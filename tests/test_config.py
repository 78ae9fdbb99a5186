from pathlib import Path

import pytest

from wardround import config
from wardround.drivers.strategies import full
from wardround.errors import ConfigError

EXPERIMENTS = sorted((Path(__file__).parent.parent / "experiments").glob("*.toml"))
SMALL = """
name = "small"
[data]
use = "hospital"
[partition]
use = "iid"
"""


def parse(text: str) -> config.Experiment:
    return config.parse(text, full(), "x.toml")


def test_a_short_file_gets_the_defaults() -> None:
    experiment = parse(SMALL)
    assert experiment.seed == 1
    assert experiment.algorithm.name == "fedavg"
    assert experiment.model.name == "mlp"
    assert experiment.rule.name == "mean"


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_every_shipped_experiment_is_read_and_dumped_back(path: Path) -> None:
    experiment = parse(path.read_text())
    assert experiment.name == path.stem
    assert experiment.about
    assert parse(config.dump(experiment)) == experiment


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("[trainng]\nepochs = 1", r"unknown key 'trainng'; did you mean 'training'\?"),
        ("[training]\nepoch = 1", r"training: unknown key 'epoch'; did you mean 'epochs'\?"),
        ("[training]\nepochs = 1.5", "training: epochs should be a whole number, not 1.5"),
        ("[training]\nepochs = true", "epochs should be a whole number, not True"),
        ('[training]\nlearning_rate = "fast"', "learning_rate should be a number, not 'fast'"),
        (
            '[training]\nengine = "stackd"',
            "engine should be one of 'stacked', 'torch', not 'stackd'; did you mean 'stacked'",
        ),
        ('[algorithm]\nuse = "fedprx"', "no algorithm is named 'fedprx'; did you mean 'fedprox'"),
        ('[algorithm]\nuse = "fedprox"\nmu = -1', "mu must be 0 or more"),
        ("[algorithm]\nmu = 1.0", "needs use = one of afl, client-momentum, fedavg"),
        ('[model]\nuse = "mlp"\nhidden = 64', "hidden should be a list"),
        ('[model]\nuse = "mlp"\nhidden = [64, "x"]', r"hidden\[1\] should be a whole number"),
        ("training = 5", "training should be a table of keys"),
        ("seed = -1", "seed must be 0 or more"),
        ("[rounds]\ncount = 0", "count must be 1 or more"),
        ("x = [", "not valid TOML"),
        ("[training]\nbatch_size = 0", "batch_size must be 1 or more, not 0"),
        ("[training]\nepochs = 0", "epochs must be 1 or more"),
        ("[training]\nlearning_rate = 0", "learning_rate must be above 0"),
        ("[training]\nlearning_rate = inf", "learning_rate must be above 0"),
        ("[training]\nmomentum = 1.0", "momentum must be at least 0 and below 1"),
        ("[training]\nclip_norm = nan", "clip_norm must be 0 or more"),
        ("[run]\nworkers = -1", "workers must be 0 or more"),
        ("[run]\ncheckpoint_every = 0", "checkpoint_every must be 1 or more"),
        ("[rounds]\nexchange_retries = -1", "exchange_retries must be 0 or more"),
        ("[evaluation]\ntarget_fpr = 1.0", "target_fpr must lie between 0 and 1"),
        ("[evaluation]\ncentralised_epochs = 0", "centralised_epochs must be 1 or more"),
        ("[evaluation]\ncentralised_learning_rate = 0.0", "centralised_learning_rate must be above 0"),
        ('[algorithm]\nuse = "scaffold"\n[training]\nmomentum = 0.9', "scaffold needs plain SGD"),
        ('[algorithm]\nuse = "fednova"\n[training]\noptimiser = "adamw"', "fednova normalises SGD"),
    ],
)
def test_one_clear_error_names_the_key(change: str, words: str) -> None:
    head, _, tail = SMALL.partition("[data]")
    text = head + change + "\n[data]" + tail if "[" not in change or change == "x = [" else SMALL + change
    with pytest.raises(ConfigError, match=words) as raised:
        parse(text)
    assert str(raised.value).startswith("x.toml")


def test_missing_tables_say_what_could_stand_there() -> None:
    with pytest.raises(
        ConfigError, match=r"partition is missing: add a table \[partition\] with use = one of dirichlet"
    ):
        parse('name = "a"\n[data]\nuse = "hospital"\n')
    with pytest.raises(ConfigError, match="name is missing"):
        parse("seed = 1")


def test_names_that_would_leave_the_run_folder_are_refused() -> None:
    with pytest.raises(ConfigError, match="names a folder"):
        parse(SMALL.replace('"small"', '"../x"'))


def test_settings_from_the_command_line() -> None:
    text = config.override(SMALL, ["rounds.count=7", "algorithm.use=fedprox", "algorithm.mu=0.5", "seed=9"], "x.toml")
    experiment = parse(text)
    assert experiment.rounds.count == 7
    assert experiment.algorithm == parse(SMALL + '[algorithm]\nuse = "fedprox"\nmu = 0.5').algorithm
    assert experiment.seed == 9
    with pytest.raises(ConfigError, match=r"should be TABLE\.KEY=VALUE"):
        config.override(SMALL, ["rounds.count"], "x.toml")
    with pytest.raises(ConfigError, match=r"seed is a key of x\.toml, not a table"):
        config.override("seed = 1\n" + SMALL, ["seed.count=1"], "x.toml")


def test_a_deployed_federation_can_be_simulated_from_the_same_file() -> None:
    text = (EXPERIMENTS[0].parent.parent / "deploy" / "three-gateways.toml").read_text()
    assert parse(text).name == "three-gateways"
    with pytest.raises(ConfigError, match="unknown key 'brokr'"):
        parse(SMALL + "[brokr]\nport = 1\n")
