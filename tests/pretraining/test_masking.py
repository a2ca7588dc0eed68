import numpy as np
import pytest

from spacy_jbert.pretraining.masking import choose, generator, mask, rate_at

MASK, RANDOM = 4, np.arange(100, 200)


def batch(
    seed: int = 0, n_samples: int = 40, length: int = 60
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples of different lengths with words of one to four pieces, [CLS] before, [SEP] and
    padding behind.
    """
    rng = np.random.default_rng(seed)
    ids, words = (
        np.zeros((n_samples, length), dtype=np.int64),
        np.full((n_samples, length), -1, dtype=np.int32),
    )
    for i in range(n_samples):
        n = int(rng.integers(1, length - 2))
        ids[i, 0], ids[i, n + 1] = 2, 3
        ids[i, 1 : n + 1] = rng.integers(10, 100, n)
        words[i, 1 : n + 1] = np.repeat(np.arange(n), rng.integers(1, 5, n))[:n]
    draws = np.stack([generator(seed, 0, i).random((3, length)) for i in range(n_samples)], axis=1)
    return ids, words, draws


def test_masks_cover_whole_words_and_never_special_pieces() -> None:
    _, words, draws = batch()
    chosen = choose(words, draws[0], 0.3)
    assert not chosen[words < 0].any()
    for row, numbers in zip(chosen, words, strict=True):
        for number in range(numbers.max() + 1):
            assert row[numbers == number].all() or not row[numbers == number].any()
    assert chosen.any(axis=1).all()


@pytest.mark.parametrize("rate", [0.15, 0.3, 0.5])
def test_the_rate_is_met_on_average(rate: float) -> None:
    _, words, draws = batch(n_samples=2000)
    words = words[
        (words >= 0).sum(axis=1) >= 30
    ]  # of shorter samples at least a word is masked all the same
    draws = draws[:, : len(words)]
    assert choose(words, draws[0], rate).sum() / (words >= 0).sum() == pytest.approx(rate, rel=0.03)


def test_a_very_long_word_is_left_alone_unless_there_is_no_other() -> None:
    words = np.zeros((2, 40), dtype=np.int32)
    words[0, 20:] = np.arange(1, 21)
    chosen = choose(words, np.zeros((2, 40)), 0.15)
    assert not chosen[0, :20].any()
    assert chosen[0, 20:].any()
    assert chosen[1].all()


def test_eighty_ten_ten() -> None:
    ids, words, draws = batch(n_samples=2000)
    masked = mask(ids, words, draws, rate=0.3, mask_id=MASK, replacements=RANDOM)
    new = masked.ids.ravel()[masked.positions]
    assert (new == MASK).mean() == pytest.approx(0.8, abs=0.01)
    assert (new >= 100).mean() == pytest.approx(0.1, abs=0.01)
    assert (new == masked.labels).mean() == pytest.approx(0.1, abs=0.01)
    assert (masked.labels == ids.ravel()[masked.positions]).all()
    untouched = np.ones(ids.size, dtype=bool)
    untouched[masked.positions] = False
    assert (masked.ids.ravel() == ids.ravel())[untouched].all()


def test_masks_depend_on_the_sample_alone() -> None:
    ids, words, draws = batch()
    together = choose(words, draws[0], 0.3)
    wider = choose(
        np.pad(words, ((0, 0), (0, 7)), constant_values=-1), np.pad(draws[0], ((0, 0), (0, 7))), 0.3
    )
    assert (wider[:, :-7] == together).all()
    for i in range(len(ids)):
        assert (choose(words[i : i + 1], draws[0, i : i + 1], 0.3)[0] == together[i]).all()


def test_numbers_are_a_function_of_seed_pass_and_sample() -> None:
    def first(*key: int) -> list[float]:
        return generator(*key).random(4).tolist()

    assert first(1, 2, 3) == first(1, 2, 3)
    assert len({tuple(first(*key)) for key in [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4)]}) == 4


def test_nothing_to_mask() -> None:
    assert choose(np.full((2, 5), -1, dtype=np.int32), np.zeros((2, 5)), 0.3).sum() == 0


def test_the_rate_falls_linearly() -> None:
    assert [rate_at(progress, 0.3, 0.15) for progress in (0, 0.5, 1, 2)] == pytest.approx(
        [0.3, 0.225, 0.15, 0.15]
    )
