"""The files of examples/scale and examples/ray_train.py do what docs/scaling.md says, on this machine."""

import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.run import get_args_parser

from tests.doubles import script_module

EXAMPLES = Path(__file__).parents[2] / "examples"
SCALE = EXAMPLES / "scale"
yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")


def run(*command: object, folder: Path, **environment: str) -> str:
    """What a command prints; its processes use one thread each, and find torchrun beside Python."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=env, capture_output=True, text=True, timeout=580, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    return done.stdout


def result(output: str) -> tuple[float, float]:
    """The validation loss and accuracy that the script prints at its end, once."""
    (found,) = re.findall(r"done: valid_loss ([\d.]+), accuracy ([\d.]+)", output)
    return float(found[0]), float(found[1])


SMALL = ("--size", "24", "--bs", "8", "--epochs", "1")


# Without batch norm, whose statistics on the CPU are those of each process.
ON_A_STREAM = """
import sys
import torch
from torch import nn
from learnkit import ImageDataBunch, Learner
from learnkit.distributed import world

torch.manual_seed(0)
dls = ImageDataBunch.from_stream("packed", size=16, bs=8)
model = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(196, 3))
learn = Learner(dls, model, metrics="accuracy", path=sys.argv[1], seed=1)
learn.fit(2, 1e-2)
preds, targets = learn.get_preds("valid")
if world.is_first:
    print("outcome", learn.recorder.rows[-1]["valid_loss"], preds.double().sum().item(), targets.tolist())
"""


@pytest.mark.slow
def test_one_process_and_two_under_torchrun_run_the_same_script(class_folder: Path, tmp_path: Path) -> None:
    one = run(sys.executable, SCALE / "train.py", class_folder, "--out", "one", *SMALL, folder=tmp_path)
    assert 0 < result(one)[0] < 20
    command = [SCALE / "torchrun.sh", class_folder, tmp_path / "two", 2, *SMALL]
    first = run(*command, folder=tmp_path)
    assert "epoch 0" in first
    assert all((tmp_path / name / "model.lk").exists() for name in ("one", "two"))
    again = run(*command, folder=tmp_path)  # the same command line, when it is done
    assert "epoch 0" not in again
    assert result(again) == result(first)


@pytest.mark.slow
def test_two_processes_on_a_stream_train_what_one_does(class_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("litdata", reason="litdata is not installed")
    packing = f"from learnkit import pack; pack({str(class_folder)!r}, 'packed', chunk_bytes='6KB')"
    run(sys.executable, "-c", packing, folder=tmp_path)
    (tmp_path / "script.py").write_text(ON_A_STREAM)
    one = run(sys.executable, "script.py", "one", folder=tmp_path)
    two = run("torchrun", "--standalone", "--nproc-per-node", 2, "script.py", "two", folder=tmp_path)
    ends = [re.findall(r"outcome (\S+) (\S+) (\[.*\])", output)[0] for output in (one, two)]
    for ours, theirs in zip(*(map(ast.literal_eval, end) for end in ends), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.mark.slow
def test_two_tasks_of_submitit_on_this_machine(class_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed")
    arguments = [class_folder, "--out", tmp_path / "tasks", *SMALL]
    submit = [sys.executable, SCALE / "slurm_submitit.py", "--cluster", "local", "--tasks", 2, "--", *arguments]
    assert 0 < result(run(*submit, folder=tmp_path))[0] < 20
    assert (tmp_path / "tasks" / "model.lk").exists()


@pytest.mark.slow
def test_two_workers_of_ray(class_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray.train", reason="Ray Train is not installed")
    command = [sys.executable, EXAMPLES / "ray_train.py", class_folder, "--out", tmp_path / "ray", *SMALL]
    output = run(*command, folder=tmp_path, RAY_USAGE_STATS_ENABLED="0", RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S="300")
    line = next(line for line in output.splitlines() if line.startswith("done: "))
    metrics = ast.literal_eval(line.removeprefix("done: ").partition(", weights in ")[0])
    assert 0 < metrics["valid_loss"] < 20
    assert metrics["epoch"] == 0
    assert (tmp_path / "ray" / "model.lk").exists()
    assert (Path(line.partition(", weights in ")[2]) / "weights.pth").exists()


def test_a_submitted_job_that_ends_early_is_queued_again_as_it_was() -> None:
    pytest.importorskip("submitit", reason="submitit is not installed")
    job = script_module(SCALE / "slurm_submitit.py").Job("train.py", ["pets", "--out", "x"])
    again = job.checkpoint()
    assert again.function is job
    assert not again.args


def parsed(arguments: list[str]) -> Any:
    """The arguments of torchrun, whose script is ours and takes the rest."""
    options = get_args_parser().parse_args(arguments)
    assert options.training_script.endswith("examples/scale/train.py")
    return options


def takes(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What train.py makes of its arguments."""
    found: dict[str, Any] = {}
    script = script_module(SCALE / "train.py")
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    monkeypatch.setattr(script, "make_learner", lambda data, out, **others: found.update(others, data=data, out=out))
    monkeypatch.setattr(script, "train", lambda learn, out, epochs: found.update(epochs=epochs))
    with pytest.raises(AttributeError, match="validate"):  # there is no learner
        script.main()
    return found


def test_the_command_of_kubernetes(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, job = yaml.safe_load_all((SCALE / "kubeflow.yaml").read_text())
    assert {part["apiVersion"] for part in (runtime, job)} == {"trainer.kubeflow.org/v1alpha1"}
    assert [part["kind"] for part in (runtime, job)] == ["TrainingRuntime", "TrainJob"]
    assert job["spec"]["runtimeRef"]["kind"] == "TrainingRuntime"
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    assert node["name"] == "node"
    assert node["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    pod = node["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["name"] == "node"
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    trainer = job["spec"]["trainer"]
    assert trainer["resourcesPerNode"]["requests"] == trainer["resourcesPerNode"]["limits"]
    command = [*trainer["command"], *trainer["args"]]
    assert all(isinstance(word, str) for word in command)
    assert command[0] == "torchrun"
    monkeypatch.setenv("PET_NNODES", "2")
    options = parsed(command[1:])
    assert (options.nnodes, options.nproc_per_node) == ("2", "auto")
    found = takes(options.training_script_args, monkeypatch)
    assert found["data"].startswith(mounts["data"])
    assert str(found["out"]).startswith(mounts["runs"])


def test_the_command_of_skypilot(monkeypatch: pytest.MonkeyPatch) -> None:
    task = yaml.safe_load((SCALE / "skypilot.yaml").read_text())
    known = {"name", "resources", "num_nodes", "workdir", "envs", "file_mounts", "setup", "run"}
    assert task.keys() <= known
    shown = task["run"].replace("torchrun", 'printf "%s\\n"', 1)
    sky = {"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1", "SKYPILOT_NUM_GPUS_PER_NODE": "8",
           "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2"}  # fmt: skip
    words = run("bash", "-c", shown, folder=EXAMPLES.parent, **sky, **task["envs"]).splitlines()
    options = parsed(words)
    assert (options.nnodes, options.node_rank, options.nproc_per_node) == ("2", 1, "8")
    assert (options.master_addr, options.master_port) == ("10.0.0.1", 29500)
    found = takes(options.training_script_args, monkeypatch)
    assert found["data"] == task["envs"]["DATA"]
    assert any(str(found["out"]).startswith(mount) for mount in task["file_mounts"])


def test_every_file_is_on_the_page_and_runs_the_script() -> None:
    page = (EXAMPLES.parent / "docs" / "scaling.md").read_text()
    files = {path.name for path in SCALE.iterdir() if path.is_file()}
    assert files == {"train.py", "torchrun.sh", "slurm_submitit.py", "kubeflow.yaml", "skypilot.yaml"}
    assert all(f"examples/scale/{name}" in page for name in files)
    assert "examples/ray_train.py" in page
    assert shlex.split("examples/scale/torchrun.sh pets runs/pets 2")[0] in page
    assert os.access(SCALE / "torchrun.sh", os.X_OK)
    assert importlib.util.find_spec("torch.distributed.run") is not None
