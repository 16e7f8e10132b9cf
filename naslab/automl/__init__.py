"""AutoML: your data in; a searched, retrained, tested and exported network out, within a budget of minutes.

pictures = read_folder("flowers")           # naslab.data.folders: a subfolder for each class
sample = pictures.split(seed=0)             # without leaks
plan = planned(sample.task, minutes=10, folder="build/flowers")  # measures a few steps; print(plan), change it
result = run(sample.task, plan, "build/flowers")  # goes on after any interruption
"""

from naslab.automl.deploy import Deployment, deployment, export
from naslab.automl.evaluation import Classified, bits_per_token, classified, milliseconds, pareto_front
from naslab.automl.model_card import card
from naslab.automl.plan import METHODS, Plan
from naslab.automl.planning import planned
from naslab.automl.reading import read
from naslab.automl.runner import Result, Trained, run

__all__ = [
    "METHODS",
    "Classified",
    "Deployment",
    "Plan",
    "Result",
    "Trained",
    "bits_per_token",
    "card",
    "classified",
    "deployment",
    "export",
    "milliseconds",
    "pareto_front",
    "planned",
    "read",
    "run",
]
