"""YAML of strangers: what is small stays small, and what is text stays text."""

import math
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from spotlight.errors import SpotlightError
from spotlight.evaluation import EvaluationSettings
from spotlight.model import ModelDescription
from spotlight.plain_yaml import load_yaml, parse_yaml
from spotlight.quoting import LONGEST, quoted
from spotlight.settings import Settings
from spotlight.training import Experiment

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (BOMB, "aliases expand it to more than"),
        (
            "a: &a {k: 1}\n" + "".join(f"b{n}: &b{n} {{<<: [{'*a,' * 99}]}}\n" for n in range(99)),
            "aliases expand it to more",
        ),
        ("a: &a [*a]", "contains itself"),
        ("[" * 3000, "nested more than"),
        ("- " * 3000, "nested more than"),
        ("steps: " + "9" * 5000, "a whole number of 5000 digits"),
        ("steps: 1" + "0" * 400, "a whole number of 401 digits"),
        ("a: 1\nb: 2\na: 3", "the key 'a' appears twice"),
        ("x: {a: 1, 'a': 2}", "the key 'a' appears twice"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("!!bool maybe", "is not valid YAML"),
        ("!!timestamp soon", "is not valid YAML"),
        ("a: \x1b[31m", "is not valid YAML"),
        ("? [1]\n: 2", "unhashable"),
    ],
)
def test_what_is_refused_is_refused_soon_and_in_few_words(text: str, fault: str) -> None:
    begin = time.monotonic()
    with pytest.raises(SpotlightError, match=fault) as caught:
        parse_yaml(text, "strange.yaml")
    assert str(caught.value).startswith("strange.yaml: ")
    assert len(str(caught.value)) < 1000
    assert time.monotonic() - begin < 5


def test_text_stays_text() -> None:
    text = "a: 12:00:00\nb: no\nc: 0123\nd: 2024-01-01\ne: 1_000\nf: off\ng: 0x1F\nh: 190:20:30.15"
    found = parse_yaml(text, "")
    assert list(found.values()) == ["12:00:00", "no", "0123", "2024-01-01", "1_000", "off", "0x1F", "190:20:30.15"]
    plain = parse_yaml("a: 12\nb: -3.5\nc: 1.0e-05\nd: true\ne: null\nf:\ng: .inf\nh: &x {k: 1}\ni: {<<: *x, k: 2}", "")
    assert list(plain.values()) == [12, -3.5, 1e-5, True, None, None, math.inf, {"k": 1}, {"k": 2}]


TEXTS = ["08", "1e3", "0o17", "12e45", "no", "12:00:00", "0123", "2024-01-01", "1_000", ".5", "~", "<<", "=", "1."]


@pytest.mark.parametrize(
    "value", [*TEXTS, "", "\udcff\x1b", "µ", 1e-5, 1.0, math.inf, -3, 10**15, True, None, [], {}, 1e22], ids=repr
)
def test_what_is_written_is_read(value: Any) -> None:
    assert parse_yaml(yaml.safe_dump({"a": value}, allow_unicode=True), "") == {"a": value}


@pytest.mark.parametrize(
    ("kind", "text", "fault"),
    [
        (Experiment, "training: {steps: 12:00:00}", "training.steps.*'12:00:00'"),
        (Experiment, "training: {batch_size: 100000000000000}", "training.batch_size.*less than or equal"),
        (Experiment, "training: {learning_rate: .nan}", "training.learning_rate.*finite"),
        (Experiment, "training: {learning_rate: 'inf'}", "training.learning_rate.*finite"),
        (Experiment, "training: {seed: 9999999999999999999}", "seed is 9999999999999999999, but must be at most"),
        (EvaluationSettings, "data_range: [0, .inf]", "data_range.*finite"),
        (ModelDescription, "format: 0", "format.*greater than or equal to 1"),
        (ModelDescription, "format: -1", "format.*greater than or equal to 1"),
        (ModelDescription, "format: 1.5", "format"),
        (ModelDescription, "format: true", "format"),
    ],
)
def test_numbers_that_make_no_sense(kind: type[Settings], text: str, fault: str) -> None:
    with pytest.raises(SpotlightError, match=fault):
        kind.parse(parse_yaml(text, "s.yaml"), "s.yaml")


HUGE = {"digits": 10**5000, "inside": [10**5000], "nested": [["x" * 9999] * 99] * 99, "text": "\x1b[31m" * 999}


@pytest.mark.parametrize("value", HUGE.values(), ids=HUGE.keys())
def test_what_is_quoted_is_short_and_acts_on_nothing(value: Any) -> None:
    assert len(quoted(value)) < 2000
    assert "\x1b" not in quoted(value)
    with pytest.raises(SpotlightError) as caught:
        Experiment.parse({"training": {"steps": value}}, "s.yaml")
    assert len(str(caught.value)) < 3000


def test_a_long_message_keeps_its_remedy() -> None:
    text = str(SpotlightError("file: " + "x" * 10**6 + " Do this."))
    assert len(text) < LONGEST + 100
    assert text.startswith("file: x")
    assert text.endswith("Do this.")


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    for path, what in (("/dev/zero", "a device"), (str(tmp_path), "a folder")):
        with pytest.raises(SpotlightError, match=f"is {what}, not a file"):
            load_yaml(path)
