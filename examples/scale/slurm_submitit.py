"""The training script as a SLURM job: one task for each GPU, queued again when the job is preempted or its time is up.

    pip install submitit
    python examples/scale/slurm_submitit.py --nodes 2 --tasks 8 -- /data/pets --out /shared/runs/pets

What stands after -- is passed to train.py. With --cluster local the tasks run on this machine, without SLURM.
"""

import argparse
import runpy
import sys
from pathlib import Path

import submitit

SCRIPT = Path(__file__).resolve().parent / "train.py"


class Job:
    """Runs the script in each task of the job.

    Args:
        script: the script.
        arguments: its arguments.
    """

    def __init__(self, script: str, arguments: list[str]) -> None:
        self.script, self.arguments = script, arguments

    def __call__(self) -> None:
        # RANK, WORLD_SIZE, LOCAL_RANK and MASTER_ADDR, as torchrun would set them; every task sees all GPUs.
        submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
        sys.argv = [self.script, *self.arguments]
        runpy.run_path(self.script, run_name="__main__")

    def checkpoint(self, *arguments: object) -> submitit.helpers.DelayedSubmission:
        """Called when SLURM ends the job early: the same again, which goes on from the last checkpoint."""
        return submitit.helpers.DelayedSubmission(self)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", choices=("slurm", "local"), default="slurm")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=1, help="on each node; with a GPU each on SLURM")
    parser.add_argument("--cpus", type=int, default=8, help="for each task")
    parser.add_argument("--minutes", type=int, default=240)
    parser.add_argument("--partition", default=None)
    parser.add_argument("--logs", type=Path, default=Path("slurm-logs"))
    parser.add_argument("arguments", nargs="+", help="those of train.py, after --")
    args = parser.parse_args()
    executor = submitit.AutoExecutor(folder=args.logs, cluster=args.cluster)
    executor.update_parameters(
        name="learnkit",
        nodes=args.nodes,
        tasks_per_node=args.tasks,
        cpus_per_task=args.cpus,
        gpus_per_node=args.tasks if args.cluster == "slurm" else 0,
        timeout_min=args.minutes,
        slurm_partition=args.partition,
        slurm_signal_delay_s=120,  # from the warning to the end: time for a checkpoint
    )
    job = executor.submit(Job(str(SCRIPT), args.arguments))
    print(f"job {job.job_id}; its output is in {job.paths.stdout}")
    job.results()
    print(job.stdout())


if __name__ == "__main__":
    main()
