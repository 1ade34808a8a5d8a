"""Labels of a plot: beside their points, in the picture, over nothing where there is room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from experiments.cost_front import CHARACTER, GAP, HIGH, LINE, THIN, WIDE, front_line, place_labels

Offset = tuple[bool, float]


def box(point: tuple[float, float], text: str, offset: Offset) -> tuple[float, float, float, float]:
    long = CHARACTER * len(text)
    left = point[0] + GAP if offset[0] else point[0] - GAP - long
    return left, point[1] + offset[1] - LINE / 2, left + long, point[1] + offset[1] + LINE / 2


def clash(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


def test_alone_a_label_stands_to_the_upper_right() -> None:
    assert place_labels([(100, 100)], ["alone"]) == [(True, -7.0)]


def test_at_the_right_edge_it_stands_to_the_left() -> None:
    (found,) = place_labels([(WIDE - 10, 100)], ["a long name"])
    assert not found[0]


def test_at_the_top_it_stands_below() -> None:
    (found,) = place_labels([(100, 2)], ["name"])
    assert found[1] > 0


def test_no_label_lies_on_the_front_line_or_on_an_interval() -> None:
    points = [(60.0, 150.0), (70.0, 50.0), (50.0, 300.0)]  # the line goes up through where the first label would stand
    texts = ["transplanted", "with its weights", "snip"]
    lines = [*front_line(points[:2]), (90.0, 280.0, 94.0, 320.0)]
    assert any(clash(box(points[0], texts[0], (True, -7.0)), line) for line in lines)
    for point, text, offset in zip(points, texts, place_labels(points, texts, lines), strict=True):
        assert not any(clash(box(point, text, offset), line) for line in lines)


def test_the_front_line_goes_in_steps() -> None:
    assert [(b[0], b[3]) for b in front_line([(9.0, 1.0), (0.0, 5.0)])] == [(0.0, 5.0 + THIN), (9.0 - THIN, 5.0)]


@given(st.integers(2, 6), st.integers(0, 3))
def test_neighbours_do_not_cover_each_other(count: int, step: int) -> None:
    points = [(300.0 + step * k, 200.0 + 2 * k) for k in range(count)]
    texts = [f"method number {k}" for k in range(count)]
    boxes = [box(*each) for each in zip(points, texts, place_labels(points, texts), strict=True)]
    assert not any(clash(boxes[i], boxes[j]) for i in range(count) for j in range(i))


@given(st.lists(st.tuples(st.floats(0, WIDE), st.floats(0, HIGH)), max_size=12))
def test_every_point_has_one(points: list[tuple[float, float]]) -> None:
    texts = ["name"] * len(points)
    found = place_labels(points, texts)
    assert len(found) == len(points)
    assert place_labels(points, texts) == found
