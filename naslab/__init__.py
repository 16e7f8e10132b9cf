"""naslab: Neural Architecture Search, derived and run.

An architecture is a corner of a polytope of mixing weights:

    tokens (ints) --space.one_hot--> weights --model(x, weights)--> logits
    alpha (reals) --softmax--------> weights --space.discretise--> tokens

spaces     which decisions describe an architecture, and which weights they stand for
genotypes  the text forms in which papers publish architectures
ops        what an edge, a layer or a node may compute
child      one architecture built alone
mixed_op   every op at once: what stands on an edge, in a cell and before a cell of a supergraph
batched    the same cells evaluated state by state: faster where every op runs
supergraph one network for a whole space, whose weights all architectures share
evaluate   train a child, measure it, turn tokens into a reward
controller the recurrent network that writes strings
parallel   children in processes of their own
search     random search, evolution, Q-learning, REINFORCE, ENAS, DARTS: each one `search`, a generator of steps
states     what a search keeps in its steps: copied, checked, put back
hypergradients  how the validation loss changes with alpha through the training of the weights
steps      the stream of steps and its readers: progress, log, checkpoint
tables     every architecture's accuracy, where a benchmark knows it
data       images and text, offline
schedules  learning rates over time
checks     what is passed in
runs       parameters and profile, device, seeds, safe files
statistics what repeated runs may claim: intervals, corrected for several
view       drawings, plots, widgets
exercises  statements, hints, checks, solutions
"""

__version__ = "0.1.0"
