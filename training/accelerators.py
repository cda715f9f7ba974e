"""Accelerators that need no training, as their papers have them: what stands in for the full model at the other steps of a run.

`Taylor` (the last features go on as a polynomial), `TaylorSeer` (arXiv 2503.06923: the output of every module does), `DllmCache` (arXiv
2506.06295: rows that changed most, on top of kept outputs), `Recap` (arXiv 2505.19089: the tokens that come next, among kept keys and
values). They are written for reading, module by module, and to be replayed by `migm verify` (record.py), which computes the same in
other ways. Each keeps things of its own for each of the two sequences of a guided run.

An accelerator is asked for the features of both sequences, `full(run)` or `predicted(run)`, and a `Recap` for the tokens that may be
revealed. All count steps from 0.
"""

import math

import torch

import base


class Unclear(Exception):
    """Rounding could turn a choice of rows."""


class ClassLayers:
    """A MaskGIT, module by module. The class token is the last row."""

    def __init__(self, model, start):
        self.model, self.length = model, model.tokens + 1
        self.layers = model.transformer["layers"]
        self.prompt = torch.tensor([model.tokens])
        self.image = torch.arange(model.tokens)

    def stream(self, ids):
        """What the first block is given."""
        return self.model.first_layer(self.model.tok_emb(ids) + self.model.pos_emb)

    def project(self, layer, x, rows):
        """Queries, keys and values `[B, n, width]` of rows of the stream that stand at `rows` `[B, n]`."""
        attend, _ = self.layers[layer]
        module = attend.fn["mha"]
        return torch.nn.functional.linear(attend.norm(x), module.in_proj_weight, module.in_proj_bias).chunk(3, -1)

    def attend(self, layer, q, k, v):
        """The output of a layer's attention."""
        module = self.layers[layer][0].fn["mha"]
        split = lambda t: t.unflatten(-1, (module.heads, -1)).transpose(1, 2)  # noqa: E731
        return module.out_proj(base.attend(split(q), split(k), split(v)).transpose(1, 2).flatten(2))

    def feed(self, layer, x):
        """The output of a layer's feed-forward."""
        return self.layers[layer][1](x)

    def last(self, x):
        """Features from what the last block gives."""
        return self.model.last_layer(x)


class TextLayers:
    """A DiMOO, module by module. The prompt is all that stands before the first image token, at `start`."""

    def __init__(self, model, start):
        self.model = model
        rows, columns = model.grid
        self.length = start + rows * (columns + 1) + 2
        self.layers = model.net.blocks
        self.prompt, self.image = torch.arange(start), torch.arange(start, self.length)

    def stream(self, ids):
        return self.model.net.wte(ids)

    def project(self, layer, x, rows):
        block = self.layers[layer]
        h = block.attn_norm(x)
        split = lambda t: t.unflatten(-1, (block.heads, -1)).transpose(1, 2)  # noqa: E731
        table = base.rotation(rows, self.model.width // self.model.heads)
        turn = lambda t: base.rotate(split(t), table).transpose(1, 2).flatten(2)  # noqa: E731
        return turn(block.q_proj(h)), turn(block.k_proj(h)), block.v_proj(h)

    def attend(self, layer, q, k, v):
        block = self.layers[layer]
        split = lambda t: t.unflatten(-1, (block.heads, -1)).transpose(1, 2)  # noqa: E731
        return block.attn_out(base.attend(split(q), split(k), split(v)).transpose(1, 2).flatten(2))

    def feed(self, layer, x):
        block = self.layers[layer]
        h = block.ff_norm(x)
        return block.ff_out(torch.nn.functional.silu(block.ff_proj(h)) * block.up_proj(h))

    def last(self, x):
        return self.model.net.ln_f(x)


def pick(x, rows):
    """Rows `[B, n]` of `x` `[B, T, width]`."""
    return x.gather(1, rows[..., None].expand(-1, -1, x.shape[-1]))


def put(x, rows, values):
    """`x` with other values at rows."""
    return x.scatter(1, rows[..., None].expand(-1, -1, x.shape[-1]), values)


class Accelerator:
    """Both sequences of a run; a subclass says what is made of one."""

    def __init__(self, run):
        layers = TextLayers if run.arch == "dimoo" else ClassLayers
        self.sequences = [layers(run.model, start) for start in run.starts()]
        self.memory = [{} for _ in self.sequences]
        self.last_full = None

    def full(self, run):
        each = zip(self.sequences, self.memory, run.ids(), strict=True)
        features = [self.observe(layers, memory, ids, run) for layers, memory, ids in each]
        self.last_full = run.step
        return features

    def predicted(self, run):
        each = zip(self.sequences, self.memory, run.ids(), strict=True)
        return [self.predict(layers, memory, ids, run) for layers, memory, ids in each]

    def allowed(self, run):
        """Which image tokens may be revealed `[B, tokens]`; None for all that are masked."""
        return None


def differences(new, old, span, order):
    """Finite differences: of order i + 1 once there was one of order i before."""
    found = [new]
    for before in (old or [])[:order]:
        found.append((found[-1] - before) / span)
    return found


def expanded(terms, ahead):
    """Their Taylor series, so many steps on."""
    return sum(term * ahead**i / math.factorial(i) for i, term in enumerate(terms))


class Taylor(Accelerator):
    """The features alone are expanded."""

    def __init__(self, run, order):
        super().__init__(run)
        self.order = order

    def observe(self, layers, memory, ids, run):
        x = layers.stream(ids)
        rows = torch.arange(layers.length).expand(len(ids), -1)
        for layer in range(len(layers.layers)):
            x = x + layers.attend(layer, *layers.project(layer, x, rows))
            x = x + layers.feed(layer, x)
        features = layers.last(x)
        self.keep(memory, "features", features, run)
        return features

    def predict(self, layers, memory, ids, run):
        return expanded(memory["features"], run.step - self.last_full)

    def keep(self, memory, name, value, run):
        span = run.step - self.last_full if self.last_full is not None else None
        memory[name] = differences(value, memory.get(name), span, self.order)


class TaylorSeer(Taylor):
    """The output of every module is expanded, and added where the module would have added it."""

    def observe(self, layers, memory, ids, run):
        x = layers.stream(ids)
        rows = torch.arange(layers.length).expand(len(ids), -1)
        for layer in range(len(layers.layers)):
            output = layers.attend(layer, *layers.project(layer, x, rows))
            self.keep(memory, (layer, "attention"), output, run)
            x = x + output
            output = layers.feed(layer, x)
            self.keep(memory, (layer, "feed_forward"), output, run)
            x = x + output
        return layers.last(x)

    def predict(self, layers, memory, ids, run):
        x, ahead = layers.stream(ids), run.step - self.last_full
        for layer in range(len(layers.layers)):
            x = x + expanded(memory[layer, "attention"], ahead)
            x = x + expanded(memory[layer, "feed_forward"], ahead)
        return layers.last(x)


class Cache(Accelerator):
    """Full steps keep keys, values and outputs of every layer."""

    def observe(self, layers, memory, ids, run):
        x = layers.stream(ids)
        rows = torch.arange(layers.length).expand(len(ids), -1)
        for layer in range(len(layers.layers)):
            q, k, v = layers.project(layer, x, rows)
            attention = layers.attend(layer, q, k, v)
            x = x + attention
            feed = layers.feed(layer, x)
            x = x + feed
            memory[layer] = {"k": k, "v": v, "attention": attention, "feed": feed}
        memory["features"] = layers.last(x)
        return memory["features"]


class DllmCache(Cache):
    """Prompt and image are computed anew at intervals; other steps compute those rows of the image whose values changed most."""

    def __init__(self, run, prompt_interval, image_interval, ratio):
        super().__init__(run)
        self.intervals, self.ratio = (prompt_interval, image_interval), ratio

    def predict(self, layers, memory, ids, run):
        since = run.step - self.last_full
        prompt_due, image_due = (since % interval == 0 for interval in self.intervals)
        everywhere = torch.arange(layers.length).expand(len(ids), -1)
        prompt, image = (rows.expand(len(ids), -1) for rows in (layers.prompt, layers.image))
        count = int(image.shape[1] * self.ratio)
        x = layers.stream(ids)
        for layer in range(len(layers.layers)):
            kept = memory[layer]
            q, k, v = layers.project(layer, x, everywhere)
            none = image[:, :0]
            of_prompt = prompt if prompt_due else none
            of_image = none
            if image_due:
                of_image = image
            elif count:
                of_image = image.gather(1, least_alike(pick(v, image), pick(kept["v"], image), count))
            # Of the image all values are new wherever some rows are computed; keys and outputs are of these rows alone.
            renewed = torch.cat((of_prompt, image if of_image.shape[1] else none), 1)
            rows = torch.cat((of_prompt, of_image), 1)
            kept["v"] = put(kept["v"], renewed, pick(v, renewed))
            kept["k"] = put(kept["k"], rows, pick(k, rows))
            attention = layers.attend(layer, pick(q, rows), kept["k"], kept["v"])
            kept["attention"] = put(kept["attention"], rows, attention)
            x = x + kept["attention"]
            kept["feed"] = put(kept["feed"], rows, layers.feed(layer, pick(x, rows)))
            x = x + kept["feed"]
        return layers.last(x)


def least_alike(new, old, count):
    """The rows of the `count` lowest cosines `[B, count]`; of equal ones the first.

    The squared distance of the two at length 1 is 2 - 2 cosine, and exactly 0 of rows that have not changed. Others are equal where the same
    code has taken the place of the mask.
    """
    unit = lambda t: t / t.norm(dim=-1, keepdim=True).clamp(min=1e-8)  # noqa: E731
    apart = (unit(new) - unit(old)).square().sum(-1)
    order = torch.sort(apart, dim=-1, descending=True, stable=True)
    if count < order.values.shape[1]:
        last, next_ = order.values[:, count - 1], order.values[:, count]
        # The rounding of a distance goes with the distance, not with its square.
        if (((last - next_) < 3e-6 * last.sqrt()) & (last != next_)).any():
            raise Unclear("two rows are as alike as each other")
    return order.indices[:, :count]


class Recap(Cache):
    """A full step chooses the tokens of the predicted steps after it; these compute the rows of those tokens alone."""

    def __init__(self, run, full):
        super().__init__(run)
        self.sizes = []  # of the union that each step's full step chooses
        for step, is_full in enumerate(full):
            end = next((later for later in range(step + 1, len(full)) if full[later]), len(full))
            self.sizes.append(sum(run.counts[step:end]) if is_full else 0)
        self.union = None  # tokens `[B, n]`, the best first

    def choose(self, run, positions, scores):
        """After a full step's scores `[B, m]` at positions `[B, m]` are known."""
        self.union = positions.gather(1, scores.topk(self.sizes[run.step], -1).indices)

    def allowed(self, run):
        if self.sizes[run.step]:
            return None
        allowed = torch.zeros(run.batch, run.model.tokens, dtype=torch.bool)
        return allowed.scatter(1, self.union, True)

    def predicted(self, run):
        self.rows = iter(run.rows(self.union))
        return super().predicted(run)

    def predict(self, layers, memory, ids, run):
        rows = next(self.rows)
        if len(layers.prompt) == 1:  # a class token comes along
            rows = torch.cat((layers.prompt.expand(len(ids), -1), rows), 1)
        x = pick(layers.stream(ids), rows)
        for layer in range(len(layers.layers)):
            kept = memory[layer]
            q, k, v = layers.project(layer, x, rows)
            kept["k"], kept["v"] = put(kept["k"], rows, k), put(kept["v"], rows, v)
            x = x + layers.attend(layer, q, kept["k"], kept["v"])
            x = x + layers.feed(layer, x)
        memory["features"] = put(memory["features"], rows, layers.last(x))
        return memory["features"]


def of(spec, run, full):
    """The accelerator of a name as the command line has it: `taylor:2`, `dllm-cache:10,3,0.25`."""
    name, _, rest = spec.partition(":")
    if name in ("taylor", "taylorseer"):
        return {"taylor": Taylor, "taylorseer": TaylorSeer}[name](run, int(rest))
    if name == "dllm-cache":
        prompt_interval, image_interval, ratio = rest.split(",")
        return DllmCache(run, int(prompt_interval), int(image_interval), float(ratio))
    if name == "recap":
        return Recap(run, full)
    raise ValueError(f"{spec} is no accelerator")
