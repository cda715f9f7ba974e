"""The modules are the official ones: recordings of the official code (tests/goldens) replay in them."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import base
import layers
import shortcut
import tokenizer
from config import CONFIGS, Shortcut, Tokenizer

GOLDENS = Path(__file__).parents[2] / "tests" / "goldens"
OPTIONS = {"cross_attention": True, "time": True}


def recording(name):
    path = GOLDENS / f"{name}-tiny.safetensors"
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        config = json.loads(json.loads(file.read(length))["__metadata__"]["config"])
    return load_file(path), config


def fill(module, tensors, prefix):
    state = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    module.load_state_dict(state)  # strict: every official tensor, and no other
    return module.eval()


def assert_close(ours, theirs):
    worst = float((ours - theirs).abs().max() / theirs.std())
    assert worst < 1e-5, f"off by {worst:.2e} standard deviations"


def dimoo():
    tensors, c = recording("dimoo")
    model = base.DiMOO(c["d_model"], c["heads"], c["layers"], c["mlp"], c["text_vocab"], c["codebook"], c["grid"])
    return fill(model, tensors, "dimoo."), tensors, c


def maskgit():
    tensors, c = recording("maskgit")
    model = base.MaskGIT(c["grid"], c["hidden"], c["depth"], c["heads"], c["mlp"], c["codebook"], c["classes"])
    return fill(model, tensors, "maskgit."), tensors, c


@torch.no_grad()
def test_dimoo_is_the_official_one():
    model, t, c = dimoo()
    features = model(t["io.base.ids"].long())
    assert_close(features, t["io.base.features"])
    assert_close(model.logits(features), t["io.base.logits"][..., c["text_vocab"] :])


@torch.no_grad()
def test_dimoo_shortcut_is_the_official_one():
    model, t, c = dimoo()
    net = shortcut.new_shortcut("dimoo", model, Shortcut(c["sc_blocks"], c["ratio"]), OPTIONS)
    fill(net, t, "shortcut.")
    rows = t["io.shortcut.new_map"].nonzero()[:, 1][None]
    out = net(t["io.shortcut.features"], model, t["io.shortcut.new_ids"].long(), rows, t["io.shortcut.mask_ratio"])
    assert_close(out, t["io.shortcut.out"])


@torch.no_grad()
def test_maskgit_is_the_official_one():
    model, t, c = maskgit()
    labels = torch.where(t["io.base.drop"].bool(), model.dropped, model.class_id(t["io.base.labels"].long()))
    features = model(torch.cat((t["io.base.ids"].long(), labels[:, None]), 1))
    assert_close(features, t["io.base.features"])
    logits = model.logits(features[:, : model.tokens], torch.arange(model.tokens).expand(3, -1))
    assert_close(logits, t["io.base.logits"])


@torch.no_grad()
def test_maskgit_shortcut_is_the_official_one():
    model, t, c = maskgit()
    net = shortcut.new_shortcut("maskgit", model, Shortcut(c["sc"]["blocks"], c["sc"]["ratio"]), OPTIONS)
    fill(net, t, "shortcut.")
    rows = t["io.shortcut.new_map"].nonzero()[:, 1].reshape(3, -1)
    out = net(t["io.shortcut.features"], model, t["io.shortcut.new_ids"].long(), rows, t["io.shortcut.mask_ratio"])
    assert_close(out, t["io.shortcut.out"])


@torch.no_grad()
def test_the_tokenizer_is_the_official_one():
    tensors, c = recording("dimoo")
    vq = c["vq"]
    model = tokenizer.VQModel(Tokenizer(tuple(vq["ch"]), vq["layers"], vq["latent"], vq["groups"], c["codebook"]))
    fill(model, tensors, "vq.")
    assert_close(model.decode(tensors["io.vq.codes"].long(), c["grid"][0]), tensors["io.vq.image"])
    assert_close(model.latents(tensors["io.vq.enc_in"]), tensors["io.vq.enc_z"])
    assert model.encode(tensors["io.vq.enc_in"]).tolist() == tensors["io.vq.enc_codes"].tolist()


@torch.no_grad()
@pytest.mark.parametrize("local", [True, False])
def test_latents_of_a_local_encoder_depend_on_what_is_near(local):
    model = tokenizer.VQModel(Tokenizer((8, 8), 1, 4, 4, 16, local))
    x = torch.rand(2, 3, 8, 96)
    if local:
        seen = []
        layers.settle(model.encoder, x)
        for layer in model.encoder.modules():
            if isinstance(layer, layers.Affine):
                layer.register_forward_hook(lambda _layer, _inputs, output: seen.append(torch.std_mean(output, (0, 2, 3))))
        model.latents(x)
        assert len(seen) == 9
        for spread, mean in seen:
            torch.testing.assert_close(spread, torch.ones_like(spread), rtol=0, atol=1e-4)
            torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-4)
    other = torch.cat([1 - x[..., :48], x[..., 48:]], -1)
    near, far = (model.latents(other) - model.latents(x)).abs().amax((0, 1, 2)).split([24, 24])
    assert near.min() > 1e-6
    assert (far[16:] == 0).all() if local else far.min() > 1e-6  # two pixels a token; convolutions reach 14 tokens far at most


def test_pictures_are_others_outside_of_a_rectangle():
    np.random.seed(0)
    x = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 3, 16, 16)
    found = set()
    for _ in range(50):
        mixed, inner = tokenizer.elsewhere(x, 2)
        same = (mixed == x).all(1).all(0)
        tokens_same = same.reshape(8, 2, 8, 2).all(3).all(1)
        assert tokens_same[inner].all(), "what lies within is as it was"
        assert same.sum() == 4 * tokens_same.sum(), "whole tokens"
        for row, column in inner.nonzero().tolist():
            around = tokens_same[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            assert around.all(), "and so is what is next to it"
        assert (mixed == x.roll(1, 0)).all(1).all(0)[~same].all()
        found.add(int(inner.sum()))
    assert len(found) > 10
    whole = torch.ones(4, 4, dtype=torch.bool)
    assert any(torch.equal(tokenizer.elsewhere(x[..., :8, :8], 2)[1], whole) for _ in range(50)), "the whole picture at times"


@pytest.mark.parametrize("name", ["dimoo", "maskgit"])
def test_the_samplers_replay_official_runs(name):
    import sampling

    model, t, c = dimoo() if name == "dimoo" else maskgit()
    sizes = Shortcut(c["sc_blocks"], c["ratio"]) if name == "dimoo" else Shortcut(c["sc"]["blocks"], c["sc"]["ratio"])
    net = fill(shortcut.new_shortcut(name, model, sizes, OPTIONS), t, "shortcut.")
    replayed = 0
    for index, trace in enumerate(c["traces"]):
        if trace.get("mlcache"):
            continue
        get = lambda part: t[f"trace.{index}.{part}"]  # noqa: B023, E731
        if name == "dimoo":
            settings = {"steps": trace["steps"], "guidance": trace["cfg"], "choice_temperature": trace["temp"]}
            condition, vocabulary = t["io.prompt_ids"].long()[None], _Ids(c)
        else:
            settings = {"steps": trace["steps"], "guidance": trace["w"], "choice_temperature": trace["r_temp"]}
            settings |= {"schedule": trace["sched"], "softmax_temperature": trace["sm_temp"]}
            condition, vocabulary = model.class_id(torch.tensor(trace["labels"])), None
        run = sampling.Run(model, name, condition, vocabulary, settings)
        if name == "dimoo":
            run.conditions = (condition, t["io.uncond_ids"].long()[None])
        row = 0
        for step, full in enumerate(sampling.full_steps(run.steps, trace["budget"])):
            with torch.no_grad():
                run.features = run.full() if full else sampling.predict(net, run)
                positions, _ = run.masked()
                count = positions.shape[1]
                if name == "dimoo":
                    noise = get("gumbel_token")[row : row + count][None], get("gumbel_choice")[row : row + count][None]
                    row += count
                else:
                    batch = torch.arange(run.batch)[:, None]
                    noise = get("gumbel_token")[step][batch, positions], get("gumbel_choice")[step].float()[batch, positions]
                run.reveal(*noise)
            if name == "maskgit":
                assert_masks = (run.codes == model.codebook).to(torch.uint8)
                assert torch.equal(assert_masks, get("masked_after")[step]), f"trace {index}, step {step}"
                worst = (torch.cat(run.features) - get("features")[step]).abs().max()
                assert worst < 1e-4, f"trace {index}, step {step}: features off by {worst}"
        if name == "dimoo":
            assert run.codes.tolist() == get("codes").tolist(), f"trace {index}"
        replayed += 1
    assert replayed >= 2


class _Ids:
    """Special ids of a recording."""

    def __init__(self, c):
        self.mask, self.newline, self.boa, self.boi, self.eoi, self.eoa = (c[k] for k in ("mask", "newline", "boa", "boi", "eoi", "eoa"))
        self.uncondition = 0


@pytest.mark.parametrize("arch", ["dimoo", "maskgit"])
def test_bases_begin_with_what_the_tokenizer_knows(arch):
    torch.manual_seed(0)
    config = CONFIGS["toy"]
    model = base.new_base(arch, config, {"words": ["a"], "nouns": ["a", "b"]})
    k = config.tokenizer.codebook
    latents = torch.randn(k, config.tokenizer.latent)
    latents[1] = latents[0]  # a synonym
    codes = np.random.default_rng(0).integers(k // 2, size=(50, model.tokens))
    before = {name: p.std() for name, p in model.named_parameters() if p.ndim == 2}
    base.know_codes(model, latents, codes)
    rows = model.net.ff_out.weight[model.text_vocab :] if arch == "dimoo" else model.tok_emb.weight
    alike = torch.cosine_similarity(rows[0], rows[1:k])
    assert alike[0] > 0.8 and alike[1:].max() < 0.8
    for name, p in model.named_parameters():
        if p.ndim == 2 and name != "bias":
            assert torch.allclose(p.std(), before[name], rtol=0.1), name
    if arch == "maskgit":
        bias = model.bias[: model.tokens, :k]
        assert bias[:, : k // 2].min() > bias[:, k // 2 :].max(), "codes that never occur are as likely as others"
