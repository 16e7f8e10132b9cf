"""Exercises of lesson 00, start here."""

import itertools
from collections.abc import Callable, Sequence

from naslab import spaces
from naslab.exercises import Exercise, same


def check_dice(answer: Callable[[int, int, int], float]) -> str | None:
    for rank, cells, draws, expected in [
        (2, 4, 1, 1 / 4),
        (2, 4, 2, 7 / 16),
        (1, 4, 3, 0.0),
        (4, 4, 2, 15 / 16),
        (5595, 15625, 10, 1 - (10031 / 15625) ** 10),
    ]:
        got = answer(rank, cells, draws)
        if not same(got, expected):
            say = f"For rank {rank} of {cells} and {draws} draws you get {got:.6g}, expected {expected:.6g}."
            if same(got, draws * (rank - 1) / cells):
                return f"{say} Probabilities add up only if no two of the events can happen together."
            if same(got, ((rank - 1) / cells) ** draws):
                return f"{say} That is the probability that all draws are better; one is enough."
            if same(got, 1 - expected):
                return f"{say} That is the probability that no draw is better."
            if same(got, 1 - (1 - rank / cells) ** draws):
                return f"{say} How many cells are better than the one with rank 1?"
            return say
    return None


def dice_win(rank: int, cells: int, draws: int) -> float:
    worse = 1 - (rank - 1) / cells  # the probability that one draw is not better
    return 1 - worse**draws


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
    # the edges in order: 0->1, 0->2, 1->2, 0->3, 1->3, 2->3
    # 1 is skip_connect, 3 is nor_conv_3x3
    # the table: 75.28 %, number 14,058 of 15,625; one convolution is not enough
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


def check_cut(answer: int) -> str | None:
    if answer == cells_without_a_path():
        return None
    if answer == 5**6 - cells_without_a_path():
        return "That is the number of cells with a path."
    if answer == 1:
        return "The cell with `none` on all edges is one of them. It is enough that each path has one `none`."
    if answer == 5**3:
        return (
            "With `none` on 0 -> 1, 0 -> 2 and 0 -> 3 the other edges are free: 125 cells. There are other ways, too."
        )
    return f"Got {answer}. List the paths from 0 to 3: 0-3, 0-1-3, 0-2-3, 0-1-2-3. Each needs a `none`."


def cells_without_a_path() -> int:
    count = 0
    # a to f are the ops of 0->1, 0->2, 1->2, 0->3, 1->3, 2->3; 0 is none
    for a, b, c, d, e, f in itertools.product(range(5), repeat=6):
        count += not (d or (a and e) or (b and f) or (a and c and f))
    return count


EXERCISES = (
    Exercise(
        id="00.1",
        statement=(
            "Write `dice_win(rank, cells, draws)`: the probability that the best of `draws` equally likely draws from "
            "`cells` cells, with replacement, is better than the cell with that rank. Rank 1 is best."
        ),
        hints=(
            "What is the probability that one draw is *not* better? Rank 1 has no better cell.",
            "The draws are independent: multiply the probabilities that each of them is not better.",
        ),
        check=check_dice,
        solution=dice_win,
        wrong=(
            (lambda rank, cells, draws: draws * (rank - 1) / cells, "happen together"),
            (lambda rank, cells, draws: ((rank - 1) / cells) ** draws, "one is enough"),
            (lambda rank, cells, draws: (1 - (rank - 1) / cells) ** draws, "no draw is better"),
            (lambda rank, cells, draws: 1 - (1 - rank / cells) ** draws, "better than the one with rank 1"),
            (lambda rank, cells, draws: 0.5, "you get 0.5, expected 0.25"),
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
    Exercise(
        id="00.4",
        statement=(
            "In how many of the 15,625 cells of NAS-Bench-201 is there no path from state 0 to state 3 along edges "
            "that are not `none`?"
        ),
        hints=(
            "There are four paths: 0-3, 0-1-3, 0-2-3 and 0-1-2-3. Each must have a `none`.",
            "`itertools.product(range(5), repeat=6)` gives all strings, and token 0 is `none`. The edges in order are "
            "0 -> 1, 0 -> 2, 1 -> 2, 0 -> 3, 1 -> 3, 2 -> 3.",
        ),
        check=check_cut,
        solution=cells_without_a_path,
        wrong=((1, "It is enough"), (125, "other ways"), (15284, "with a path"), (1000, "List the paths")),
    ),
)
