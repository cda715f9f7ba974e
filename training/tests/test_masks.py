"""Which tokens are masked, and which captions are told apart: what bases learn from."""

import numpy as np
import torch

import masks
import scenes
import tokens


def test_captions_are_exchanged_where_they_then_mean_another_scene():
    header = {"words": "a an red orange left to the right of and fox owl two foxes".split(), "colours": ["natural", "red", "orange"]}
    captions = ["a red fox to the left of an owl", "a fox to the right of an owl", "an orange fox and a red owl", "a fox and a red owl"]
    captions += ["a red fox to the right of an orange owl", "two red foxes", "a red fox and a red owl"]
    ids, labels = np.full((7, 32), scenes.NO_WORD, np.uint16), np.zeros((7, 16), np.int16)
    for row, caption in enumerate(captions):
        ids[row, : len(caption.split())] = [header["words"].index(word) for word in caption.split()]
    labels[:, scenes.KIND] = [1, 1, 1, 1, 1, 2, 1]
    labels[:, scenes.RELATION] = [0, 1, 2, 2, 1, -1, 2]
    labels[:, scenes.COLOUR_A], labels[:, scenes.COLOUR_B] = [1, 0, 2, 0, 1, 1, 1], [0, 0, 1, 1, 2, -1, 1]
    labels[:, scenes.STATED] = [4, 0, 12, 8, 12, 4, 12]
    sides, colours = tokens.exchangeable(labels)
    assert sides.tolist() == [True, True, False, False, True, False, False]
    assert colours.tolist() == [False, False, True, False, True, False, False]
    part = tokens.Part(np.zeros((7, 1), int), labels, ids).of(sides | colours)
    words = lambda row: " ".join(header["words"][i] for i in row if i != scenes.NO_WORD)  # noqa: E731
    seen = {tuple(words(row) for row in tokens.exchanged(part, header)) for _ in range(40)}
    first = ("a red fox to the right of an owl", "a fox to the left of an owl", "a red fox and an orange owl")
    assert seen == {(*first, "a red fox to the left of an orange owl"), (*first, "an orange fox to the right of a red owl")}

    # What scenes show can be said of those that do not say it, and of no others.
    shown = labels.copy()
    shown[[0, 5], scenes.COLOUR_B], shown[3, scenes.COLOUR_A] = 2, 2
    stated = tokens.stating_colours(tokens.Part(np.zeros((7, 1), int), shown, ids), header)
    now = list(captions)
    now[0], now[3] = "a red fox to the left of an orange owl", "an orange fox and a red owl"
    assert [words(row) for row in stated.ids] == now
    assert tokens.exchangeable(stated.labels)[1].tolist() == [True, False, True, True, True, False, False]


def test_nearly_all_is_masked_more_often_than_a_sampler_does():
    torch.manual_seed(0)
    codes = torch.zeros(2000, 64, dtype=torch.long)
    for arch in ("dimoo", "maskgit"):
        shares = [masks.masked(codes, arch, 9, biased)[1].float().mean(1) for biased in (True, False)]
        assert shares[0].mean() > shares[1].mean() + 0.1
        assert shares[0].min() >= 1 / 64 and (shares[0] < 0.5).float().mean() > 0.05


def test_what_a_run_knows_first_is_masked_least():
    torch.manual_seed(0)
    labels = np.zeros((400, 16), np.int16)
    labels[:, scenes.FIRST], labels[:, scenes.LAST] = 4 * 16 + 5, 11 * 16 + 10
    places = torch.arange(256).expand(400, -1)
    order = masks.as_revealed(labels, places, 16).argsort(1).argsort(1)
    mask = (order < 64).view(-1, 16, 16).float()
    inside = mask[:, 4:12, 5:11].mean((1, 2))
    assert inside.mean() > 1.5 * 64 / 256, "things stay masked longest"
    assert inside.min() < 64 / 256 < inside.max(), "but not always"
    alike = (mask[:, :, 1:] == mask[:, :, :-1]).float().mean()
    by_chance = 1 - 2 * 0.25 * 0.75
    assert alike > by_chance + 0.1, "neighbours are known together"
    left, right = mask[:, 4:12, 5:7].mean((1, 2)), mask[:, 4:12, 9:11].mean((1, 2))
    assert (left > right + 0.3).sum() > 40 and (right > left + 0.3).sum() > 40, "some side of things is known first"
    window = torch.arange(256).expand(400, -1)[:, 64:192]
    assert masks.as_revealed(labels, window, 16).shape == (400, 128)
    codes = torch.zeros(400, 256, dtype=torch.long)
    by_chance, half = (masks.masked(codes, "dimoo", 9, True, *how)[1].float() for how in ((), (labels, places, 16)))
    of = lambda mask: (mask.view(-1, 16, 16)[:, 4:12, 5:11].mean() / mask.mean()).item()  # noqa: E731
    assert abs(of(by_chance) - 1) < 0.02 and of(half) > 1.1
