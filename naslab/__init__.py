"""naslab: Neural Architecture Search, derived and run.

An architecture is a corner of a polytope of mixing weights:

    tokens (ints) --space.one_hot--> weights --model(x, weights)--> logits
    alpha (reals) --softmax--------> weights --space.discretise--> tokens

spaces          the decisions that describe an architecture, and its mixing weights
genotypes       the text forms in which papers publish architectures
ops             the ops of edges, layers and nodes
networks        children (one architecture each) and supergraphs (one network for a whole space)
training        trains networks, measures them, turns tokens into rewards
controller      the recurrent network that samples strings
search          random search, evolution, Q-learning, REINFORCE, ENAS, DARTS: each a generator of steps
objective       the task interface of ENAS and DARTS
hypergradients  gradients in alpha through the training of the weights
tables          the accuracy of every architecture of a benchmark
steps           the steps of a search, and their sinks: progress, log, checkpoint
states          the state in a step: copied, checked, restored
parallel        evaluates children in worker processes, or as tasks of Ray
cluster         REINFORCE on Ray: parameter-server shards, controller replicas, children
fleet           a cluster's machines on paper and in simulated time: throughput, utilisation, staleness
asynchronous    REINFORCE with the stale gradients of a simulated fleet
data            images and text, offline; your own folders, tables and texts
automl          a network for your own data within a budget: plan, search, test, export, model card
schedules       learning-rate schedules
runs            parameters and profile, device, seeds, safe files
statistics      confidence intervals of repeated runs, corrected for multiple comparisons
checks          checks of arguments
view            drawings, plots, widgets
exercises       statements, hints, checks, solutions
"""

__version__ = "0.1.0"
