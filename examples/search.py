"""NAS with reinforcement learning on a cluster: children are networks for the digits, evaluated by Ray.

    python search.py                      on this machine
    python search.py --address auto       on a machine that belongs to a cluster

It saves every update. Start it again, and it goes on.
"""

import argparse
from pathlib import Path

import torch

from naslab import cluster, data, runs, spaces, training
from naslab.controller import Controller
from naslab.search.reinforce import Config
from naslab.steps import best, checkpoint, progress, resume, tee


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", help="of a cluster; by default Ray is started on this machine")
    parser.add_argument("--shards", type=int, default=2, help="parameter servers, S")
    parser.add_argument("--replicas", type=int, default=4, help="controller replicas, K")
    parser.add_argument("--children", type=int, default=4, help="children per replica and update, m")
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=5, help="of a child's training")
    parser.add_argument("--gpus", type=float, default=0, help="per child; 0.5: two children share one")
    parser.add_argument("--timeout", type=float, default=3600, help="of one child, in seconds")
    parser.add_argument("--checkpoint", type=Path, default=Path("search.pt"))
    args = parser.parse_args()

    space = spaces.MacroSpace(3)
    evaluate = training.TrainChild(space, data.digits(), training.Recipe(epochs=args.epochs), channels=8)
    with runs.seeded(0):
        controller = Controller(space)
    config = Config(args.updates, args.children, lr=0.02)
    after = resume(args.checkpoint) if args.checkpoint.exists() else None
    shape = {"shards": args.shards, "replicas": args.replicas, "timeout": args.timeout, "gpus": args.gpus}
    steps = []
    with cluster.ray_session(args.address):
        found = cluster.search(space, evaluate, controller, config, torch.Generator().manual_seed(0), after, **shape)
        for step in tee(found, progress(args.updates), checkpoint(args.checkpoint)):
            for place, reason in step.failures.items():
                print(f"update {step.index}, child {place}: {reason}")
            steps.append(step)
    if steps:
        tokens, reward = best(steps)
        print(f"best of {sum(len(step.children) for step in steps)} children: {tokens}, reward {reward:.3f}")


if __name__ == "__main__":
    main()
