"""Training under Ray Train
========================

The training script under Ray Train: workers that Ray starts, watches and, when one is lost, starts again::

    pip install "ray[train]"
    python examples/ray_train.py pets --out /shared/runs/pets --workers 2

Ray sets up the process group, which learnkit uses. A run that is started again goes on from the checkpoint in --out,
which all machines have to see; after each epoch, Ray is told the metrics and given the weights.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray.train import Checkpoint, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from learnkit import Callback, TrainState

SCALE = Path(__file__).resolve().parent / "scale"


class RayReport(Callback):
    """Reports the metrics of each epoch to Ray, with the weights as its checkpoint."""

    order = 90  # when the others are done

    def after_epoch(self, state: TrainState) -> None:
        metrics = {"epoch": state.epoch, **state.valid}
        with tempfile.TemporaryDirectory() as folder:
            weights = None
            if ray.train.get_context().get_world_rank() == 0:
                torch.save(state.model.state_dict(), Path(folder) / "weights.pth")
                weights = Checkpoint.from_directory(folder)
            ray.train.report(metrics, checkpoint=weights)  # every worker has to

    def state_dict(self) -> dict[str, Any]:
        return {}


def train_worker(config: dict[str, Any]) -> None:
    """What each worker runs."""
    sys.path.insert(0, config["scale"])  # the folder of train.py
    from train import make_learner, train

    out = Path(config["out"])
    learn = make_learner(config["data"], out, size=config["size"], bs=config["bs"])
    train(learn, out, config["epochs"], callbacks=[RayReport()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--bs", type=int, default=64, help="of all workers together")
    args = parser.parse_args()
    out = args.out.resolve()
    has_gpu = torch.accelerator.is_available()
    config = {"data": str(Path(args.data).resolve()) if "://" not in args.data else args.data, "out": str(out),
              "epochs": args.epochs, "size": args.size, "bs": args.bs, "scale": str(SCALE)}  # fmt: skip
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=config,
        torch_config=TorchConfig(backend="nccl" if has_gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=args.workers, use_gpu=has_gpu),
        run_config=RunConfig(
            name="learnkit", storage_path=str(out / "ray"), failure_config=FailureConfig(max_failures=3)
        ),
    )
    result = trainer.fit()
    print(f"done: {result.metrics}, weights in {result.checkpoint.path}")


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "questions/images/slurm.png"
