"""Evaluates children side by side: `Workers.map` and `process_map` on one machine, `ray_map` on a cluster.

Each replaces `map` in a search that takes `map_fn`. A child that fails does not affect others: its result is `Failed`.
`ray_map` and `ray_session` need the extra `cluster`.
"""

from naslab.parallel.on_ray import Tasks, ray_map, ray_session
from naslab.parallel.processes import Workers, process_map

__all__ = ["Tasks", "Workers", "process_map", "ray_map", "ray_session"]
