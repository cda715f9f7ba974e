"""What the accelerators' references promise, on models of random weights."""

import pytest
import torch

import accelerators
import base
import orders
import sampling
import shortcut

WORDS = [f"w{i}" for i in range(12)]
SETTINGS = {"steps": 7, "guidance": 2.0, "choice_temperature": 3.0, "schedule": "arccos"}


def build(arch):
    torch.manual_seed(3)
    if arch == "dimoo":
        vocabulary = base.Vocabulary(WORDS)
        model = base.DiMOO(32, 4, 3, 48, vocabulary.size, 24, (5, 4))
        condition = torch.randint(len(WORDS), (2, 6))
    else:
        vocabulary = None
        model = base.MaskGIT(5, 32, 3, 4, 64, 24, 7)
        condition = model.class_id(torch.tensor([2, 5]))
    for p in model.parameters():
        if p.ndim > 1:
            p.data.normal_(std=0.2)
    return model.eval(), condition, vocabulary


@pytest.fixture(params=["dimoo", "maskgit"])
def new(request):
    """Runs of one model."""
    model, condition, vocabulary = build(request.param)
    return lambda **changed: sampling.Run(model, request.param, condition, vocabulary, SETTINGS | changed)


@torch.no_grad()
def features(run, spec, full, seed=5):
    """The features of every step, and the codes in the end."""
    torch.manual_seed(seed)
    found, accelerator = [], accelerators.of(spec, run, full)
    for is_full in full:
        run.features = accelerator.full(run) if is_full else accelerator.predicted(run)
        run.allowed = accelerator.allowed(run)
        positions, _ = run.masked()
        logits = run.logits(positions)
        noise = sampling.gumbel(*logits.shape), sampling.gumbel(*positions.shape)
        if is_full and isinstance(accelerator, accelerators.Recap):
            accelerator.choose(run, positions, run.choose(logits, positions, *noise)[1])
        run.reveal(*noise)
        found.append(run.features)
    assert (run.codes < run.model.codebook).all()
    return found, run.codes


def close(a, b):
    return all(torch.allclose(x, y, atol=2e-4) for first, second in zip(a, b, strict=True) for x, y in zip(first, second, strict=True))


def every(spec, run):
    return features(run, spec, [True] * run.steps)


@pytest.mark.parametrize("spec", ["taylor:1", "taylorseer:2", "dllm-cache:2,2,0.5", "recap"])
def test_full_steps_are_the_model(new, spec):
    found, codes = every(spec, new())
    run = new()
    torch.manual_seed(5)
    for step in found:
        with torch.no_grad():
            assert close([run.full()], [step])
            run.reveal()
    assert torch.equal(run.codes, codes)


@pytest.mark.parametrize("spec", ["dllm-cache:1,1,0", "dllm-cache:1,100,1"])
def test_a_cache_of_which_nothing_is_used_is_vanilla(new, spec):
    run = new()
    found, codes = features(run, spec, [step == 0 for step in range(run.steps)])
    wanted, wanted_codes = every(spec, new())
    assert close(found, wanted) and torch.equal(codes, wanted_codes)
    stale, _ = features(new(), "dllm-cache:100,100,0.1", [step == 0 for step in range(run.steps)])
    assert not close(stale, wanted)


def test_a_recap_step_over_the_whole_picture_is_a_full_one_for_classes(new):
    run = new()
    found, _ = features(run, "recap", [step == 0 for step in range(run.steps)])
    wanted, _ = every("recap", new())
    assert close(found, wanted) == (run.arch == "maskgit")


def test_the_sum_of_all_expansions_is_the_expansion_of_the_sum(new):
    """Which is why one tensor does for all modules."""
    full = [True, True, False, True, False, False, False]
    found, codes = features(new(), "taylorseer:2", full)

    class OneTensor(accelerators.TaylorSeer):
        def observe(self, layers, memory, ids, run):
            x = first = layers.stream(ids)
            rows = torch.arange(layers.length).expand(len(ids), -1)
            for layer in range(len(layers.layers)):
                x = x + layers.attend(layer, *layers.project(layer, x, rows))
                x = x + layers.feed(layer, x)
            self.keep(memory, "sum", x - first, run)
            return layers.last(x)

        def predict(self, layers, memory, ids, run):
            return layers.last(layers.stream(ids) + accelerators.expanded(memory["sum"], run.step - self.last_full))

    run = new()
    torch.manual_seed(5)
    accelerator = OneTensor(run, 2)
    for step, is_full in enumerate(full):
        with torch.no_grad():
            run.features = accelerator.full(run) if is_full else accelerator.predicted(run)
            assert close([run.features], [found[step]]), f"step {step}"
            run.reveal()
    assert torch.equal(run.codes, codes)


def test_a_halton_order_covers_every_token_and_spreads():
    ranks = orders.halton_ranks(8, 8)
    assert sorted(ranks.tolist()) == list(range(64))
    # Sixteen tokens of 64 along the sequence: in nearly every block of two by two one.
    blocks = {(int(at) // 8 // 2, int(at) % 8 // 2) for at in ranks.argsort()[:16]}
    assert len(blocks) > 12


@torch.no_grad()
def test_a_shortcut_learns_what_the_sampler_draws_from(new):
    """The divergence that it learns from is of the distributions that the sampler has at masked tokens, with guidance and without."""
    for guided in (True, False):
        run = new() if guided else new(guidance=0.0)
        before = run.full()
        run.reveal()
        after = run.full()
        step = shortcut.Step(run, before, after)
        assert (step.guidance != 0) == guided
        teacher = run.logits(step.positions).log_softmax(-1)
        run.features = before
        own = run.logits(step.positions).log_softmax(-1)
        expected = (teacher.exp() * (teacher - own)).sum(-1)
        run.features = after
        run.reveal()
        step.reveals(run.new_positions)
        assert torch.equal(step.positions.gather(1, step.drawn), run.new_positions)
        found = shortcut.divergence(run.model, step, step.at_masked(before), step.at_masked(after), step.guidance, step.drawn)
        assert torch.allclose(found, expected.gather(1, step.drawn), rtol=1e-3, atol=1e-6) and found.max() > 1e-4
