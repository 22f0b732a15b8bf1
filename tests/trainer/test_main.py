from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_trials import SMALL, small

from trainer import __main__ as command
from trainer import journal, results
from trainer.kernels import build
from trainer.results import CHECKPOINT, JOURNAL, RESULT, Result

ROOT = Path(__file__).parents[2]


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(SMALL))
    return path


@pytest.fixture(autouse=True)
def _signals_as_before():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(*arguments: object) -> int:
    return command.main([str(argument) for argument in arguments])


def test_one_command_trains_a_trial_and_prints_a_line_for_each_epoch(
    spec_file, tmp_path, capsys
) -> None:
    assert run(spec_file, "--out", tmp_path / "t", "--device", "cpu") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:12] for line in lines[:3]] == ["epoch   0/2 ", "epoch   1/2 ", "epoch   2/2 "]
    assert small().trial_id in lines[3]
    assert Result.model_validate_json((tmp_path / "t" / RESULT).read_bytes()).epochs == 2


def test_a_finished_trial_is_not_trained_again(spec_file, tmp_path, capsys) -> None:
    run(spec_file, "--out", tmp_path / "t", "--device", "cpu")
    written = (tmp_path / "t" / RESULT).stat().st_mtime_ns
    assert run(spec_file, "--out", tmp_path / "t", "--device", "cpu") == 0
    assert "is finished" in capsys.readouterr().out
    assert (tmp_path / "t" / RESULT).stat().st_mtime_ns == written


def test_sigterm_stops_at_a_step_and_the_same_command_resumes(tmp_path) -> None:
    spec_file, folder = tmp_path / "spec.json", tmp_path / "t"
    spec_file.write_text(json.dumps({**SMALL, "epochs": 30}))
    arguments = [sys.executable, "-m", "trainer", str(spec_file), "--out", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*arguments, "--device", "cpu"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        process.stdout.readline()  # epoch 0 is written: it trains
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=240)
    assert process.returncode == 4
    assert errors.startswith("stopped in epoch")
    assert "Traceback" not in errors
    assert (folder / CHECKPOINT).exists()
    assert run(spec_file, "--out", folder, "--device", "cpu") == 0
    assert [record.epoch for record in journal.read(folder / JOURNAL)] == list(range(31))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"depth": 13}', "depth: found 13; allowed for cifar_resnet: 6D+2, the nearest 8 and 14"),
        ('{"dept": 14}', "dept: Extra inputs are not permitted (found 14)"),
        ('{"depth": "14"}', "depth: Input should be a valid integer (found '14')"),
        ("{depth: 14}", "not JSON"),
        ("[1]", "valid dictionary"),
    ],
)
def test_a_mistake_in_the_spec_is_one_line_and_exit_code_2(
    content, message, tmp_path, capsys
) -> None:
    path = tmp_path / "spec.json"
    path.write_text(content)
    assert run(path, "--out", tmp_path / "t") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(path) in error
    assert message in error
    assert not (tmp_path / "t").exists()


def test_a_missing_spec_or_missing_data_is_exit_code_2_with_the_path(tmp_path, capsys) -> None:
    assert run(tmp_path / "absent.json", "--out", tmp_path / "t") == 2
    assert "absent.json" in capsys.readouterr().err


def test_another_trial_s_folder_is_refused(spec_file, tmp_path, capsys) -> None:
    run(spec_file, "--out", tmp_path / "t", "--device", "cpu")
    spec_file.write_text(json.dumps({**SMALL, "seed": 1}))
    assert run(spec_file, "--out", tmp_path / "t", "--device", "cpu") == 2
    assert f"holds another trial, {small().trial_id}" in capsys.readouterr().err


def test_an_impossible_device_or_thread_count_is_exit_code_2(spec_file, tmp_path, capsys) -> None:
    assert run(spec_file, "--out", tmp_path / "t", "--device", "abacus") == 2
    assert run(spec_file, "--out", tmp_path / "t", "--threads", 0) == 2
    assert "--threads and --processes are at least 1" in capsys.readouterr().err


def test_a_diverged_trial_is_exit_code_1_and_debug_shows_the_traceback(
    spec_file, tmp_path, capsys
) -> None:
    spec_file.write_text(json.dumps({**SMALL, "lr": 1e30}))
    arguments = (spec_file, "--out", tmp_path / "t", "--device", "cpu")
    assert run(*arguments) == 1
    assert "loss not finite in epoch 1" in capsys.readouterr().err
    with pytest.raises(Exception, match="not finite"):
        run(*arguments, "--debug")


def test_train_may_be_named_or_left_out_and_options_may_come_first(spec_file, tmp_path) -> None:
    assert run("train", spec_file, "--out", tmp_path / "a", "--device", "cpu") == 0
    assert run("--out", tmp_path / "b", "--device", "cpu", spec_file) == 0
    digests = [
        Result.model_validate_json((tmp_path / name / RESULT).read_bytes()).digests["final"]
        for name in "ab"
    ]
    assert digests[0] == digests[1]


def test_check_data_answers_with_a_line_for_each_data_set_that_is_not_there(
    tmp_path, capsys, monkeypatch
) -> None:
    specs = [SMALL, {"dataset": "image_folder", "data_id": "mine", "classes": 2, "image_size": 8}]
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(specs)))
    assert run("check-data", "--data", tmp_path) == 0
    (line,) = json.loads(capsys.readouterr().out)
    assert str(tmp_path) in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "standard input: not JSON"),
        ("{}", "standard input: not a list of specs"),
        ('[{"depth": 13}]', "standard input: depth: found 13"),
    ],
)
def test_check_data_refuses_what_is_not_a_list_of_specs(
    text, message, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert run("check-data", "--data", tmp_path) == 2
    assert capsys.readouterr().err.startswith(message)


def test_devices_answers_with_the_gpus_and_what_is_wrong_with_the_kernel(
    capsys, monkeypatch
) -> None:
    monkeypatch.setattr(build, "problem", lambda: "no C++ compiler")
    assert run("devices") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["kernel_problem"] == "no C++ compiler"
    assert len(answer["gpus"]) == torch.cuda.device_count()


def test_the_help_names_every_command(capsys) -> None:
    with pytest.raises(SystemExit):
        run("--help")
    text = capsys.readouterr().out
    assert [name for name in command.COMMANDS if f"\n    {name}" not in text] == []


def test_repeat_finds_each_number_again_or_the_first_that_is_another(
    spec_file, tmp_path, capsys
) -> None:
    folder = tmp_path / "t"
    assert run(spec_file, "--out", folder, "--device", "cpu") == 0
    capsys.readouterr()
    assert run("repeat", folder / RESULT) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["difference"], answer["comparable"], answer["unlike"]) == ("", True, [])
    assert answer["epochs"] == answer["all_epochs"] == SMALL["epochs"]

    result = Result.model_validate_json((folder / RESULT).read_bytes())
    result.history[1].metrics["train/loss"] += 1e-9
    results.write(folder / "changed.json", result)
    assert run("repeat", folder / "changed.json", "--epochs", 1) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["difference"].startswith("epoch 1: train/loss was ")
    assert answer["epochs"] == 1

    (folder / "damaged.json").write_bytes((folder / RESULT).read_bytes()[:-40])
    assert run("repeat", folder / "damaged.json") == 2
    assert "no whole result" in capsys.readouterr().err
    assert run("repeat", folder / RESULT, "--epochs", -1) == 2
    assert "--epochs: found -1" in capsys.readouterr().err
