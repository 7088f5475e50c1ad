"""The prepared cache gives what preparation gives, is made once, and notices every change."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from conftest import TINY
from spotlight import SpotlightError, train
from spotlight.images import read
from spotlight.pairs import Pair, PreparationSettings, clear_cache, prepare_pair, prepare_pairs, read_manifest


@pytest.fixture
def pair(manifest: Path, tmp_path: Path) -> Pair:
    first = read_manifest(manifest)[0]
    copy = tmp_path / "data" / first.input.name
    copy.parent.mkdir()
    copy.write_bytes(first.input.read_bytes())
    return replace(first, input=copy, target=copy, labels=None)


def entries(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_it_gives_what_preparation_gives(pair: Pair, tmp_path: Path) -> None:
    fresh = asdict(prepare_pair(pair, TINY.preparation))
    for _ in range(2):
        (prepared,) = prepare_pairs([pair], TINY.preparation, tmp_path / "cache")
        assert isinstance(prepared.input, np.memmap)
        for name, value in asdict(prepared).items():
            if name in ("input", "target", "mask"):
                np.testing.assert_array_equal(value, fresh[name])
                assert value.dtype == fresh[name].dtype
            else:
                assert value == fresh[name], name
    assert len(entries(tmp_path / "cache")) == 1


def test_any_change_makes_a_new_entry(pair: Pair, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    prepare_pairs([pair], TINY.preparation, cache)
    prepare_pairs([replace(pair, name="renamed", split="test")], TINY.preparation, cache)
    assert len(entries(cache)) == 1
    prepare_pairs([pair], PreparationSettings(grid=0.4), cache)
    prepare_pairs([replace(pair, region=":, 0:40, :")], TINY.preparation, cache)
    assert len(entries(cache)) == 3
    stack = read(pair.input)
    stack.data[1] += 1
    time.sleep(0.01)
    stack.save(pair.input)
    (changed,) = prepare_pairs([pair], TINY.preparation, cache)
    assert len(entries(cache)) == 4
    assert changed.foreground.threshold == prepare_pair(pair, TINY.preparation).foreground.threshold
    (cache / "notes.txt").write_text("mine")
    assert clear_cache(cache) == 4
    assert entries(cache) == {"notes.txt"}


def test_several_may_make_one_entry_at_a_time(pair: Pair, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: prepare_pairs([pair], TINY.preparation, tmp_path / "cache")[0], range(8)))
    assert len(entries(tmp_path / "cache")) == 1
    for prepared in done:
        np.testing.assert_array_equal(prepared.input, done[0].input)


@pytest.mark.slow
def test_training_from_a_cache_is_the_same(manifest: Path, model_folder: Path, tmp_path: Path) -> None:
    folder = train(manifest, tmp_path / "model", TINY, cache=tmp_path / "cache")
    assert (folder / "weights.safetensors").read_bytes() == (model_folder / "weights.safetensors").read_bytes()
    assert len(entries(tmp_path / "cache")) == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    with pytest.raises(SpotlightError, match="cannot be written"):
        prepare_pairs([pair], TINY.preparation, tmp_path / "cache")
