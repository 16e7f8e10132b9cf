"""The bar: how long the whole run still takes, by a clock that the test sets."""

from naslab.automl.keeping import Bar


class Set:
    """A clock that shows what it is set to."""

    now = 100.0

    def __call__(self):
        return self.now


def left(bar, clock, *times):
    """The seconds left after each (seconds since the start, steps done)."""
    found = []
    for seconds, done in times:
        clock.now = 100.0 + seconds
        found.append(bar.left(done))
    return found


def test_a_search_takes_its_steps_and_then_the_trainings():
    """Two seconds a step, 10 steps, and 30 seconds after them."""
    clock = Set()
    bar = Bar("search", 10, later=30.0, clock=clock)
    assert left(bar, clock, (2, 1), (4, 2), (20, 10)) == [18 + 30, 16 + 30, 30]


def test_a_search_that_is_late_is_cut():
    """Four seconds a step, 10 steps, but only 15 seconds: less than the 36 that nine more would take."""
    clock = Set()
    bar = Bar("search", 10, limit=15.0, later=30.0, clock=clock)
    assert left(bar, clock, (4, 1), (8, 2), (12, 3), (16, 4)) == [11 + 30, 7 + 30, 3 + 30, 30]
    fast = Bar("search", 10, limit=15.0, later=30.0, clock=Set())
    assert left(fast, fast.clock, (1, 1)) == [9 + 30]


def test_of_three_trainings_two_more_take_as_long():
    clock = Set()
    bar = Bar("training", 20, again=2, clock=clock)
    assert left(bar, clock, (3, 1), (6, 2), (10, 10), (20, 20)) == [57 + 120, 54 + 120, 10 + 40, 40]
    last = Bar("training", 20, clock=Set())
    assert left(last, last.clock, (3, 1), (60, 20)) == [57, 0]


def test_after_a_resume_only_the_steps_of_this_process_count():
    """Step 8 of 10 is the first one here: two seconds a step, not a quarter of one."""
    clock = Set()
    bar = Bar("search", 10, limit=100.0, later=30.0, clock=clock)
    assert left(bar, clock, (2, 8), (4, 9), (6, 10)) == [4 + 30, 2 + 30, 30]


def test_what_is_left_is_never_negative_nor_infinite():
    for limit in (0.0, -5.0, 15.0):  # a search whose time is over when it resumes takes one more step
        clock = Set()
        bar = Bar("search", 3, limit=limit, clock=clock)
        assert left(bar, clock, (0, 1), (50, 1), (60, 3), (70, 4)) == [0.0] * 4


def test_the_minutes_of_the_whole_run_are_shown(capsys, monkeypatch):
    monkeypatch.delenv("NASLAB_PROGRESS", raising=False)
    clock = Set()
    bar = Bar("search (random)", 10, later=300.0, clock=clock)
    bar.bar.mininterval = 0.0  # tqdm draws at most ten times a second
    for done in range(1, 11):
        clock.now += 20.0
        bar(done)
    assert bar.bar.n == 10
    bar.close()
    out, shown = capsys.readouterr()
    assert out == "" and "search (random)" in shown
    assert "whole run: 8.0 minutes left" in shown and "whole run: 5.0 minutes left" in shown


def test_a_hidden_bar_prints_nothing(capsys, monkeypatch):
    monkeypatch.setenv("NASLAB_PROGRESS", "0")
    bar = Bar("training (found)", 2, again=1)
    bar(1)
    bar(2)
    bar.close()
    assert capsys.readouterr() == ("", "")


def test_a_resumed_bar_begins_where_the_earlier_process_ended(monkeypatch, capsys):
    monkeypatch.delenv("NASLAB_PROGRESS", raising=False)
    bar = Bar("search", 10, clock=Set())
    bar.bar.mininterval = 0.0
    bar(8)
    bar.close()
    assert "8/10" in capsys.readouterr().err
