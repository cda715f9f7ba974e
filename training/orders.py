"""Orders in which tokens are revealed that are known in advance."""

import torch


def halton_ranks(rows, columns):
    """The rank of each token `[rows * columns]` along a Halton sequence of bases 2 and 3 (arXiv 2503.17076)."""

    def mirrored(index, radix):
        value, weight = 0.0, 1.0 / radix
        while index:
            index, digit = divmod(index, radix)
            value, weight = value + digit * weight, weight / radix
        return value

    order, index = [], 0
    while len(order) < rows * columns:
        index += 1
        cell = int(mirrored(index, 2) * rows) * columns + int(mirrored(index, 3) * columns)
        if cell not in order:
            order.append(cell)
    return torch.tensor(order).argsort()
