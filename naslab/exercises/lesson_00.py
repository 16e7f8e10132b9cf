"""Exercises of lesson 00, start here."""

from collections.abc import Callable, Sequence

from naslab import spaces
from naslab.exercises import Exercise, same


def check_count(answer: int) -> str | None:
    if answer == 5 * 6:
        return "5 x 6 counts one edge's options six times. The choices are independent: do they add or multiply?"
    if answer == 6**5:
        return "6^5 would be five edges with six ops each. Here there are six edges with five ops each."
    if answer != 5**6:
        return f"Got {answer}. Two edges alone give 5 x 5 = 25 strings; go on to six."
    return None


def check_tokens(answer: Sequence[int]) -> str | None:
    space = spaces.nas_bench_201()
    try:
        tokens = space.check(answer)
    except ValueError as error:
        return f"{error}."
    pairs = space.pairs(tokens)["cell"]
    for target, node in enumerate(pairs, start=1):
        for source, op in node:
            expected = "nor_conv_3x3" if (source, target) == (0, 3) else "skip_connect"
            if op != expected:
                return f"Your string puts {op} on the edge {source} -> {target}; the cell has {expected} there."
    return None


def residual_cell() -> tuple[int, ...]:
    # edges in order: 0->1, 0->2, 1->2, 0->3, 1->3, 2->3; ops: 1 is skip_connect, 3 is nor_conv_3x3
    return (1, 1, 1, 3, 1, 1)


def check_constant(answer: Callable[[Sequence[int]], float]) -> str | None:
    for labels, expected in [
        ([0, 1, 2, 3], 0.25),
        ([0, 0, 0, 1], 0.75),
        ([2, 2, 1, 1, 1], 0.6),
        ([7], 1.0),
        ([12, 3, 12], 2 / 3),
    ]:
        got = answer(labels)
        if not same(got, expected):
            return f"For {labels} your function gives {got}; the best guess is right {expected:.0%} of the time."
    return None


def constant_accuracy(labels: Sequence[int]) -> float:
    return max(labels.count(label) for label in set(labels)) / len(labels)


EXERCISES = (
    Exercise(
        id="00.1",
        statement="A NAS-Bench-201 cell has 6 edges; each carries one of 5 ops. How many strings are there?",
        hints=(
            "How many strings are there with one edge? With two?",
            "The choices are independent, so the numbers of options multiply.",
        ),
        check=check_count,
        solution=5**6,
        wrong=(
            ("15625", "expected an integer"),
            (30, "add or multiply"),
            (7776, "six edges with five ops"),
            (125, "25 strings"),
        ),
    ),
    Exercise(
        id="00.2",
        statement="Write the tokens of the cell with nor_conv_3x3 on 0 -> 3 and skip_connect on every other edge.",
        hints=(
            "`[d.name for d in space.decisions]` lists the edges in order; a name reads cell.target.source.",
            "A token is an index into `space.ops`, counted from 0.",
        ),
        check=check_tokens,
        solution=residual_cell,
        wrong=(
            ((1, 1, 3, 1, 1, 1), "nor_conv_3x3 on the edge 1 -> 2"),
            ((1, 1, 1, 1, 1, 3), "skip_connect on the edge 0 -> 3"),
            ((2, 2, 2, 4, 2, 2), "nor_conv_1x1 on the edge 0 -> 1"),
            ((1, 1, 1), "the space has 6 decisions"),
        ),
    ),
    Exercise(
        id="00.3",
        statement=(
            "A network whose output ignores its input always names one class. Write `constant_accuracy(labels)`: "
            "the accuracy, a fraction, of the best such guess on a list of labels."
        ),
        hints=(
            "Which class should a constant guess name, if you may see the labels?",
            "Count the most frequent label: `labels.count(label)`.",
        ),
        check=check_constant,
        solution=constant_accuracy,
        wrong=(
            (lambda labels: 1 / len(set(labels)), "right 75% of the time"),
            (lambda labels: labels.count(0) / len(labels), "right 60% of the time"),
            (lambda labels: max(labels.count(label) for label in set(labels)), "right 25% of the time"),
            (lambda labels: max(labels.count(label) for label in range(10)) / len(labels), "right 67% of the time"),
        ),
    ),
)
