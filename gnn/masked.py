"""The network of one event as PyTorch Geometric's explainers want it: its links as one `edge_index`, messages passed by layers that they
can mask. The same weights as `gnn.net`, for checking our explanations against theirs; nothing else imports this.

Aggregation by mean and maximum (sage) alone: attention is shared out before a mask is applied, which is another thing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from gnn.batches import Graph, Hiding, graph_of
from gnn.net import Net, Sample, sample_of
from gnn.network import Gnn
from gnn.records import Replay
from gnn.removal import Link
from ringwatch.errors import BadInput


class Met(MessagePassing):
    """Entities from those they met."""

    def __init__(self) -> None:
        super().__init__(aggr=["mean", "max"])

    def forward(self, edge_index: Tensor, told: Tensor, nodes: int) -> Tensor:
        return self.propagate(edge_index, told=told, size=(nodes, nodes))

    def message(self, told: Tensor) -> Tensor:
        return torch.relu(told)


class Slots(MessagePassing):
    """The event's entities, each in its place."""

    def __init__(self) -> None:
        super().__init__(aggr="sum")

    def forward(self, edge_index: Tensor, block: Tensor, nodes: int) -> Tensor:
        return self.propagate(edge_index, block=block, size=(nodes, nodes))

    def message(self, block: Tensor) -> Tensor:
        return block


class Drawn(NamedTuple):
    """One event's graph: its entities and those they met, and last the event."""

    x: Tensor
    """(nodes, width): first layer; zeros for the event."""
    edge_index: Tensor
    """(2, e)"""
    links: list[Link]
    """(e,): which link each edge is."""


class MaskedNet(nn.Module):
    """Log-odds of one event, (1, 1), from the graph that `draw` gives. Messages of both layers go over all edges, so that one mask does
    for both; those that are not theirs are zeros or go where nobody looks."""

    def __init__(self, net: Net, sample: Sample, graph: Graph) -> None:
        """`sample`: of the graph, which is of one event."""
        super().__init__()
        if net.shape.aggregation != "sage" or len(sample.slots) != 1:
            raise BadInput(
                "only a network that aggregates by mean and maximum can be masked, for one event at a time", hint="sage"
            )
        self.net, self._sample, self._graph = net.eval(), sample, graph
        self.met, self.slots = Met(), Slots()
        self._known = torch.nonzero(sample.slots[0] >= 0)[:, 0]

    def draw(self) -> Drawn:
        net, s = self.net, self._sample
        with torch.no_grad():
            first = net.entities(s)
        event = len(first)
        inner = s.inner[s.slots[0, self._known]]
        met = torch.stack([s.met.source, s.inner[s.met.to]])
        mine = torch.stack([inner, torch.full_like(inner, event)])
        kind_of = {
            int(place): k for k, place in zip(self._known.tolist(), s.slots[0, self._known].tolist(), strict=True)
        }
        of = self._graph.met
        links = [Link(kind_of[to], p) for to, p in zip(of.to.tolist(), of.position.tolist(), strict=True)]
        links += [Link(k, -1) for k in self._known.tolist()]
        return Drawn(torch.cat([first, first.new_zeros(1, first.shape[1])]), torch.cat([met, mine], 1), links)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        net, s, nodes, width = self.net, self._sample, len(x), x.shape[1]
        many = len(s.met.to)
        told = net.relation(x[s.met.source], s.met.sizes) + net.relation_time(net.time(s.met.age_s), s.met.sizes)
        near = self.met(edge_index, torch.cat([told, told.new_zeros(len(self._known), width)]), nodes)
        inner = x[s.inner]
        z = inner + net.second(torch.cat([inner, near[s.inner]], 1), s.inner_sizes)
        block = x.new_zeros(many + len(self._known), net.shape.kinds, width)
        block[many + torch.arange(len(self._known)), self._known] = z[s.slots[0, self._known]]
        old = self.slots(edge_index, block.flatten(1), nodes)[-1].view(1, net.shape.kinds, width)
        return net.margin(s, *net.beside(s, old))[:, None]


def net_of(gnn: Gnn) -> Net:
    """The network in torch again, from the weights that serve."""
    w, net = gnn.weights, Net(gnn.shape)
    typed = {
        "event": (w.event.x, w.event.x_bias), "event_time": (w.event.time, w.event.time_bias), "told": (w.told.x, w.told.x_bias),
        "told_time": (w.told.time, w.told.time_bias), "first": (w.first, w.first_bias), "relation": (w.relation, w.relation_bias),
        "relation_time": (w.relation_time, w.relation_time_bias), "second": (w.second, w.second_bias), "new": (w.new, w.new_bias),
    }  # fmt: skip
    arrays = {
        "x_mean": w.x_mean, "x_scale": w.x_scale, "own_mean": w.own_mean, "own_scale": w.own_scale, "dense_mean": w.dense_mean,
        "dense_scale": w.dense_scale, "event_type": w.type, "time.frequency": w.frequency, "time.phase": w.phase,
        "state": w.event.state, "position": w.event.position, "told_state": w.told.state, "told_position": w.told.position,
        "head.0.weight": w.head_0.T, "head.0.bias": w.head_0_bias, "head.1.weight": w.head_1.T, "head.1.bias": w.head_1_bias,
        "head.2.weight": w.head_2[None], "head.2.bias": w.head_2_bias,
    }  # fmt: skip
    arrays |= {
        f"{name}.{part}": a for name, pair in typed.items() for part, a in zip(("weight", "bias"), pair, strict=True)
    }
    state = net.state_dict()
    state |= {name: torch.from_numpy(a.copy()).reshape(state[name].shape) for name, a in arrays.items()}
    net.load_state_dict(state)
    return net


def masked_of(gnn: Gnn, net: Net, done: Replay, row: int) -> MaskedNet:
    """Of one event of a replay; `net` is the network in torch. Without features of the caller's."""
    graph = graph_of(done, np.array([row]), Hiding())
    dense = torch.full((1, gnn.shape.dense), torch.nan)
    return MaskedNet(net, sample_of(gnn.shape, graph, done.rows, dense, torch.device("cpu")), graph)
