"""Searches. Each module has a `Config` and a `search(...)`, a generator that yields one `Step` per update.

All take the space, `evaluate` (tokens -> reward, larger is better), the config and a `torch.Generator`, and
continue exactly where a step left off when it is given as `after`; `reinforce` also takes its controller. Those with
several children per update take `map_fn`, which evaluates them: `map`, or `parallel.Workers.map`.
"""
