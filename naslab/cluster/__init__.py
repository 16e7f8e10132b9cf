"""NAS with reinforcement learning on a cluster: the processes of figure 3 in Zoph & Le 2017, on Ray.

    with ray_session():
        for step in cluster.search(space, evaluate, controller, config, generator, shards=2, replicas=4): ...

- S **shards** (`Shard`) hold a part of theta and Adam's moments of it.
- K **replicas** (`Replica`) pull theta, sample m children, and compute a gradient from their rewards.
- **Hosts** are actors of Ray: processes for shards and replicas, one for each, or a few that they share.
- **Children** are tasks of Ray (`parallel.Tasks`): they run on whatever machine has a free processor.
- The **driver** is the process that calls `search`. A thread per replica waits for that replica (`Turns`). The driver
  hands the gradients to the shards one after the other (`Server`). So all shards have the same version of theta, and a
  gradient counts once or not at all. The shards answer with theta and the moments. From this copy the driver starts
  another shard if one dies, and it is also the state in the steps.

Only the driver cannot be replaced. If it ends, resume from its checkpoint.
"""

from naslab.cluster.actors import Replica, Shard
from naslab.cluster.search import search
from naslab.parallel import ray_session

__all__ = ["Replica", "Shard", "ray_session", "search"]
