"""Searches. Each module has a `Config` and a `search(...)`, a generator that yields one `Step` per update.

All take the space, `evaluate` (tokens -> reward, larger is better), the config and a `torch.Generator`, and
continue exactly where a step left off when it is given as `after`. `map_fn` evaluates the children of one update.
"""
