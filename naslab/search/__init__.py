"""Searches. Each module has a `Config` and a `search(...)`, a generator that yields one `Step` per update.

All take the space, the config, a `torch.Generator` and `after`. With `after`, a `Step`, the search resumes exactly
where that step ended. Random search, evolution, Q-learning and REINFORCE take `evaluate` (tokens -> reward, larger is
better). DARTS and ENAS take a supergraph and an `objective.Objective` instead. REINFORCE and ENAS also take a
controller. A search that evaluates several children per update takes `map_fn`: `map`, `parallel.Workers.map` or
`parallel.ray_map`. `naslab.cluster` has REINFORCE with replicas that do not wait for one another.
"""
