"""What every check must see through, over all exercises: odd values, odd types, answers that change their arguments."""

import copy
import functools
import itertools
import math
import sys
from collections.abc import Mapping
from html.parser import HTMLParser

import mistune
import numpy as np
import pytest
import torch

from naslab import exercises
from naslab.exercises import check, lessons, same
from naslab.exercises.answers import Unreadable, read, shown, span

ALL = [pytest.param(e, id=e.id) for n in lessons() for e in exercises.exercises(n)]
FUNCTIONS = [p for p in ALL if p.values[0].asks_for_a_function]
NAN, INF = math.nan, math.inf


class Hostile:
    """Raises at whatever is asked of it."""

    def __getattr__(self, name):
        raise RuntimeError(name)

    def __repr__(self):
        raise RuntimeError("repr")

    __eq__ = __float__ = __iter__ = __len__ = __bool__ = __str__ = __hash__ = __repr__


def itself():
    """A list that holds itself."""
    items = [1.0]
    items.append(items)
    return items


def odd():
    """What is right for no exercise, made anew because generators run out."""
    return [
        *(NAN, INF, -INF, 10**400, -(10**400), 1e308, 10**5000, 1j, None, "", "text", b"1", print, int, object()),
        *([], (), {}, set(), range(0), [NAN], [NAN] * 3, (NAN, NAN), [INF, 1.0], [None] * 3, {"stem": NAN, "a": NAN}),
        *(np.float32(NAN), np.array(INF), np.zeros(0), np.full(3, NAN), np.ones((2, 3, 4)), np.array("x")),
        *(np.array([1, "x", None], dtype=object), np.datetime64("2026-01-01")),
        *(torch.tensor(NAN), torch.empty(0), torch.full((3,), NAN), torch.full((3, 3), INF), torch.ones(2, 3, 4)),
        *([[]], [[1.0], [1.0, 2.0]], itself(), itertools.count(), (x for x in ()), Hostile(), [Hostile()]),
        *({1: Hostile()}, {Hostile: 1}, [1e308] * 3, [10**400] * 3, np.ones(20_000)),
    ]


def changed(value, change):
    """The value with every leaf changed; a tensor becomes nested lists."""
    if isinstance(value, torch.Tensor | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {k: changed(v, change) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(changed(v, change) for v in value)
    return change(value)


def spoilt(value):
    """By name, what makes the value of any exercise wrong."""
    leaves = {"nan": NAN, "inf": INF, "none": "None", "text": "1.0", "empty": [], "list": [1.0], "huge": 1e300}
    yield from ((name, changed(value, lambda leaf, new=new: new)) for name, new in leaves.items())
    yield "wrapped", [value]
    yield "as text", repr(value)
    if isinstance(value, torch.Tensor):
        yield "an axis more", value[None]
        yield "an entry more", torch.cat([value, value[:1]])
    if isinstance(value, list | tuple | torch.Tensor) and len(value):
        yield "one less", value[:-1]
        yield "one nan", [*value[:-1], NAN]


def all_wrong(exercise, answer):
    verdict = check(exercise.id, answer)
    assert not verdict.passed and "cannot make sense" not in verdict.message, verdict
    return verdict


@pytest.mark.parametrize("exercise", ALL)
def test_no_odd_value_is_right(exercise):
    for k in range(len(odd())):
        verdict = check(exercise.id, odd()[k])
        assert not verdict.passed, (k, verdict)
        verdict = check(exercise.id, lambda *args, k=k, **kwargs: odd()[k])
        assert not verdict.passed, (k, verdict)


@pytest.mark.parametrize("exercise", ALL)
def test_a_right_value_that_is_spoilt_is_wrong_and_the_message_is_the_checks_own(exercise):
    if not exercise.asks_for_a_function:
        for _, value in spoilt(exercise.answer):
            all_wrong(exercise, value)
        return
    for name, *_ in [*spoilt([1.0]), *spoilt(torch.ones(1))]:
        calls = []

        def answer(*args, name=name, calls=calls):
            right = exercise.answer(*args)
            value = dict(spoilt(right)).get(name, right)
            calls.append(value is not right)
            return value

        verdict = check(exercise.id, answer)
        assert not verdict.passed or not any(calls), (name, verdict)
        assert "cannot make sense" not in verdict.message, (name, verdict)


# Right answers of other types


def single(leaf):
    """A float as float32 has it; counts and names as they are."""
    return np.float32(leaf) if isinstance(leaf, float) else leaf


def scalar(leaf):
    if isinstance(leaf, bool):
        return np.bool_(leaf)
    if isinstance(leaf, int):
        return np.int64(leaf) if abs(leaf) < 2**63 else leaf
    return np.float64(leaf) if isinstance(leaf, float) else leaf


def tensor(leaf):
    """Of no dimension."""
    return leaf if not isinstance(leaf, int | float) or abs(leaf) >= 2**63 else torch.tensor(leaf)


def array(value):
    """Lists of numbers as one array, as far as they are rectangular."""
    try:
        return value.numpy() if isinstance(value, torch.Tensor) else np.array(value)
    except (ValueError, OverflowError):
        return value


def exchanged(value):
    """Lists for tuples and tuples for lists."""
    if isinstance(value, list | tuple):
        return (list if isinstance(value, tuple) else tuple)(map(exchanged, value))
    return value


TYPES = {
    "float32": lambda value: value.float() if isinstance(value, torch.Tensor) else changed(value, single),
    "NumPy scalars": lambda value: changed(value, scalar),
    "tensors of no dimension": lambda value: changed(value, tensor),
    "plain": lambda value: changed(value, lambda leaf: leaf),
    "arrays": lambda value: value if isinstance(value, dict | str | None) else array(value),
    "with a gradient": lambda v: v.clone().requires_grad_() if isinstance(v, torch.Tensor) else v,
    "exchanged": exchanged,
}


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("exercise", ALL)
def test_the_solution_is_right_in_any_type(exercise, name):
    if not exercise.asks_for_a_function:
        answer = TYPES[name](exercise.answer)
    elif name == "arrays" and exercise.id == "07.7":
        return  # an array of numbers and names holds names only

    else:

        def answer(*args):
            return TYPES[name](exercise.answer(*args))

    verdict = check(exercise.id, answer)
    assert verdict.passed, verdict


def scribbled(value):
    """Changes the value in place, as far as it can be."""
    if isinstance(value, torch.Tensor):
        value.fill_(7)
    elif isinstance(value, np.ndarray):
        value[...] = 7
    elif isinstance(value, list | dict):
        for part in value if isinstance(value, list) else value.values():
            scribbled(part)
        value.clear()


@pytest.mark.parametrize("exercise", FUNCTIONS)
def test_the_solution_is_right_when_it_changes_its_arguments(exercise):
    def answer(*args):
        result = copy.deepcopy(exercise.answer(*args))
        for k, arg in enumerate(args):
            if exercise.copies or k == 2:  # 08.3 looks at w, its argument 1
                scribbled(arg)
        return result

    verdict = check(exercise.id, answer)
    assert verdict.passed, verdict


def test_answers_that_work_in_place_are_right():
    def alpha_gradient(p, g):
        g -= p @ g
        g *= p
        return g

    def decay_gradient(w, g_w, H):
        w *= torch.linalg.solve(H, g_w)
        return -w.sum()

    def thresholds(c):
        values = torch.tensor([-c, 1 - c])
        values += 1
        values /= torch.tensor([1 + c, c])
        return values

    def derived(p, shared, alone, n):
        total = 0.0
        while p:
            k = shared.index(max(shared))
            total += alone.pop(k) * ((rest := sum(p)) ** n - (rest - p.pop(k)) ** n)
            shared.pop(k)
        return total

    assert check("06.3", thresholds).passed
    assert check("06.6", derived).passed

    def after_one_step(slopes, lr):
        for k, g in enumerate(slopes):
            slopes[k] = math.exp(lr if g < 0 else -lr)
        return [s / sum(slopes) for s in slopes]

    def keep_epoch(eigenvalues):
        last = len(eigenvalues) - 1
        for k in range(last - 3):
            eigenvalues[k] = sum(eigenvalues[k : k + 5])
        del eigenvalues[last - 3 :]
        return next(
            (k + 4 for k, (a, b) in enumerate(zip(eigenvalues, eigenvalues[5:], strict=False)) if a < 0.75 * b), last
        )

    assert check("07.5", alpha_gradient).passed
    assert check("09.1", after_one_step).passed
    assert check("09.4", keep_epoch).passed
    assert check("08.5", decay_gradient).passed


def test_right_answers_as_somebody_else_may_write_them():
    def score(p, a):
        theta = torch.tensor(p, dtype=torch.float32).log().requires_grad_()
        return torch.autograd.grad(theta.log_softmax(0)[a], theta)[0]

    def reads(bits):
        read = [[j for j in range(len(row))[::-1] if row[j]] or [-1] for row in bits]
        return read, {*range(len(bits))}.difference(*read)

    def pull(a, power):
        r = torch.tensor(a) ** power
        return (r.max() - r.mean()) / (r.mean() - r.min())

    def step(pairs, x, h, w):
        out, functions = [torch.tensor(h)], {"identity": lambda a: a}
        for (source, name), numbers in zip(pairs, w, strict=True):
            read = torch.stack([torch.tensor(x), out[0]]) if source == 0 else out[source][None]
            gate, new = torch.tensor(numbers).view(2, -1) @ read
            new = functions.get(name, getattr(torch, name, None))(new)
            out.append(out[source].lerp(new, gate.sigmoid()))
        return torch.stack([out[k] for k in {*range(1, len(out))} - {s for s, _ in pairs}]).mean()

    def derived(p, shared, alone, n):
        p, shared, alone = map(np.float32, (p, shared, alone))
        at_most = (p * (shared <= shared[:, None])).sum(1)
        return (at_most**n - (at_most - p) ** n) @ alone

    def adam(slopes, lr):
        alpha = torch.zeros(len(slopes), requires_grad=True)
        alpha.grad = torch.tensor(slopes)
        torch.optim.Adam([alpha], lr).step()
        return alpha.softmax(0)

    def on_a_path(edges):
        def ends(node, learnt):
            following = [(t, learnt or "nor" in op) for s, t, op in edges if s == node and op != "none"]
            return learnt if node == max(edges)[1] else any(ends(*pair) for pair in following)

        return np.bool_(ends(0, False))

    def sudden(series):
        m = np.convolve(series, np.full(5, 0.2), "valid")  # m[0] is that of epoch 4
        holds = m[:-5] / m[5:] < 0.75
        return np.argmax(holds) + 4 if holds.any() else np.int64(len(series) - 1)

    pairs = {
        "00.1": [lambda rank, cells, draws: 1 - torch.tensor((cells - rank + 1) / cells) ** draws],
        "00.3": [lambda labels: torch.tensor(labels).bincount().max() / len(labels)],
        "00.4": [np.int64(341), torch.tensor(341), 341.0],
        "02.1": [lambda p, a: -p + np.eye(len(p))[a], score],
        "02.2": [lambda p, b: p * (b - p @ b)],
        "03.1": [lambda v: torch.sigmoid(torch.tensor([-1, 1]) * torch.tensor(v).abs().sum())],
        "03.2": [reads],
        "03.4": [
            set(exercises.lesson_03.residual_pairs()),
            np.array(exercises.lesson_03.residual_pairs()[::-1]),
            (pair for pair in exercises.lesson_03.residual_pairs() * 2),
        ],
        "03.5": [pull],
        "04.4": [lambda tokens: int(exercises.lesson_04.dead(tokens))],
        "06.1": [lambda numbers: {*range(2, 2 + len(numbers) // 4)} - {*numbers[::2]}],
        "06.2": [["highway", "equal", "plain"], np.array(["highway", "equal", "plain"])],
        "06.3": [lambda c: torch.tensor([(1 - c) / (1 + c), (2 - c) / c]), lambda c: [2 / (1 + c) - 1, 2 / c - 1]],
        "06.4": [step],
        "06.5": [lambda n, k: sum((-1) ** j * math.comb(n + 1, j) * (k - j) ** n for j in range(k))],
        "06.6": [derived],
        "07.3": [lambda w: torch.diag(w.float()) - torch.outer(w.float(), w.float())],
        "07.4": [lambda lead, share: torch.tensor(lead) / torch.tensor(share).logit()],
        "09.1": [adam],
        "09.2": [on_a_path],
        "09.4": [sudden, lambda series: torch.tensor(sudden(series)), lambda series: float(sudden(series))],
        "09.5": [lambda c: torch.tensor((10 + 3 * c) / (4 + c)), lambda c: np.float32(3 - 2 / (4 + c))],
    }
    for id, answers in pairs.items():
        for answer in answers:
            verdict = check(id, answer)
            assert verdict.passed, verdict


# What comes from an answer is shown as text, whatever it is

TEXTS = (
    "<img src=x onerror=alert(1)>",
    "\n\n# Heading\n\n- item",
    "`</code><script>alert(1)</script>",
    "``` \n<b>",
    "[a](javascript:alert(1)) ![b](https://example.org/c.png) **bold**",
    "\x00\x1b[31m\u202e\ud800\\",
    "|a|b|\n|-|-|\n|c|d|",
)


class Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.found = set()
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.add((tag, *attrs))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("exercise", ALL)
def test_nothing_that_an_answer_says_is_taken_for_markdown_or_html(exercise, text):
    name = f"<i>{text}</i>".encode("ascii", "ignore").decode().replace("\0", "")
    kind = type(name, (Exception,), {"__repr__": lambda self: text})

    def raises(*args):
        raise kind(text)

    def exits(*args):
        sys.exit(text)

    answers = [text, kind(), [text], (text, text), {text: 1.0}, {"stem": text}, raises, exits]
    returned = [functools.partial(lambda value, *args: value, value) for value in answers[:6]]
    right = exercise.answer if exercise.asks_for_a_function else lambda *args: exercise.answer
    spoilt = [lambda *args: changed(right(*args), lambda leaf: text if isinstance(leaf, str) else leaf)]
    spoilt += [lambda *args: {**right(*args), text: 1.0}] if exercise.id == "05.2" else []
    for answer in (*answers, *returned, *spoilt):
        message, _ = check(exercise.id, answer)._repr_markdown_().split("\n\n<details>", 1)
        assert "\n" not in message and message[2:].startswith(exercise.id) and "\x00" not in message
        html = mistune.create_markdown(escape=False, plugins=["table"])(message)
        assert Tags(html).found <= {("p",), ("code",), ("em",)}, (message, html)


# Reading and comparing


def test_read_gives_plain_values_and_says_what_it_expected():
    assert read(np.float32(0.5), float) == 0.5 and type(read(np.int64(3), int)) is int
    assert read(3.0, int) == 3 and type(read(3.0, int)) is int and read(2.5, int) == 2.5
    assert read((torch.tensor(1), [2]), tuple[int, list[int]]) == (1, [2])
    assert read([[0, "a"]], list[tuple[int, str]]) == [(0, "a")]
    assert read({"a": torch.tensor(2.0)}, dict[str, float]) == {"a": 2.0}
    assert read(None, int | None) is None and read(range(3), tuple[int, ...]) == (0, 1, 2)
    assert read([[1, 2], [3, 4]], torch.Tensor).shape == (2, 2) and read(1, bool) is True
    for value, form, words in (
        (NAN, float, "Got `nan`; expected a number."),
        (True, int, "Got `True`; expected an integer."),
        ("<b>", list[float], "Got `'<b>'`; expected a list of numbers."),
        ((1.0,), tuple[float, float], "Got `(1.0,)`; expected two numbers."),
        ([1, 2], list[list[int]], "Got `[1, 2]`; expected a list of lists of integers."),
        ([[1]], list[tuple[int, str]], "Got `[[1]]`; expected a list of tuples of an integer, a name."),
        ({"a": INF}, dict[str, float], "Got `{'a': inf}`; expected a dict of numbers by a name."),
        ("x", int | None, "Got `'x'`; expected an integer or None."),
        ([[1.0], 2.0], torch.Tensor, "Got `[[1.0], 2.0]`; expected a tensor of numbers."),
    ):
        with pytest.raises(Unreadable) as caught:
            read(value, form)
        assert str(caught.value) == words


def test_same_is_exact_for_counts_near_for_floats_and_false_for_what_is_no_number():
    assert same(0.1 + 0.2, 0.3) and same(np.float32(0.1).item(), 0.1) and same(1, 1.0) and same(-1e-7, 0.0)
    assert not same(0.1001, 0.1) and not same(2e-6, 0.0) and not same(1e6 + 20, 1e6)
    assert same(10**30, 10**30) and not same(10**30 + 1, 10**30) and not same(15625.000001, 15625)
    assert same((1.0, [2.0]), [1.0, (2.0,)]) and same({"a": 1.0}, {"a": 1.0}) and same(None, None)
    assert same(torch.ones(2, 2), torch.ones(2, 2)) and not same(torch.ones(2, 1), torch.ones(2, 2))
    for got in (NAN, INF, None, True, "1.0", [1.0], {}, 1j, object()):
        assert not same(got, 1.0) and not same([got], [1.0]) and not same({"a": got}, {"a": 1.0})
    for got, expected in ((NAN, NAN), (INF, INF), ([], [1.0]), ([1.0, 1.0], [1.0]), (1.0, [1.0]), (True, 1), ({}, [])):
        assert not same(got, expected)


def test_what_is_shown_is_one_short_code_span():
    assert shown([1.5, "a`b"]) == "`[1.5, 'a'b']`" and span("a\n b") == "`a b`"
    for value in (Hostile(), "x" * 10**6, [0] * 10**6, 10**5000, itself(), {"a": [[[[[[[[[1]]]]]]]]]}):
        text = shown(value)
        assert len(text) < 310 and text[0] == text[-1] == "`" and "`" not in text[1:-1]
