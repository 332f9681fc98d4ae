"""The network in torch and PyTorch Geometric, for training: serving evaluates the same by `gnn.encode` and never imports this."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_geometric.nn.aggr import MaxAggregation, MeanAggregation, SumAggregation
from torch_geometric.utils import softmax

from gnn.batches import Edges, Graph
from gnn.encode import CLIP, DECAYS_S, TIMES, WAVES, Tell, Weights
from gnn.encode import Gather as GatherWeights
from gnn.records import Rows
from gnn.schema import COMMON, OWN, SLOT, TYPES, Shape

AMOUNT = COMMON.index("amount")


def gap_column(kind: int) -> int:
    return len(COMMON) + kind * len(SLOT) + SLOT.index("gap")


class Messages(NamedTuple):
    """`Edges` in torch, with the inputs of the events they tell of."""

    sizes: list[int]
    to: Tensor
    """(e,), sorted by type; `order` sorts them by where they go, `starts` is where each entity's begin then."""
    order: Tensor
    starts: Tensor
    source: Tensor
    age_s: Tensor
    x: Tensor
    """(e, any): inputs of the event, and its type, state and position as ones among zeros."""


class Sample(NamedTuple):
    """`Graph` in torch, with the inputs of its events."""

    sizes: list[int]
    own: Tensor
    events: Messages
    labelled: Messages
    inner_sizes: list[int]
    inner: Tensor
    met: Messages
    slots: Tensor
    age_s: Tensor
    x: Tensor
    type: Tensor
    present: Tensor
    """(n, kinds): whether the event has an entity of this kind."""
    dense: Tensor
    """(n, dense): NaN where missing."""


def sample_of(shape: Shape, graph: Graph, rows: Rows, dense: Tensor, device: torch.device) -> Sample:
    """`dense`: (n, dense), the caller's features of the graph's events."""

    def tensor(array: object) -> Tensor:
        return torch.as_tensor(array).to(device)

    def messages(edges: Edges, entities: int, positions: int) -> Messages:
        order = np.argsort(edges.to, kind="stable")
        starts = np.append(0, np.bincount(edges.to, minlength=entities).cumsum())
        told = [rows.x[edges.source], _one_of(rows.type[edges.source], TYPES)] if positions else []
        told += [_one_of(edges.state, 3), _one_of(edges.position, positions)] if positions else []
        x = np.concatenate(told, 1) if positions else np.zeros((len(edges.to), 0), np.float32)
        return Messages(edges.sizes, *map(tensor, (edges.to, order, starts, edges.source, edges.age_s, x)))

    at = graph.rows
    return Sample(
        graph.sizes, tensor(graph.own), messages(graph.events, len(graph.own), shape.events),
        messages(graph.labelled, len(graph.own), shape.labelled), graph.inner_sizes, tensor(graph.inner),
        messages(graph.met, len(graph.inner), 0), tensor(graph.slots), tensor(graph.age_s), tensor(rows.x[at]),
        tensor(rows.type[at].astype("int64")), tensor(rows.entity[at] >= 0), dense.to(device),
    )  # fmt: skip


def _one_of(code: NDArray[Any], many: int) -> NDArray[np.float32]:
    return (code[:, None] == np.arange(many)).astype(np.float32)


def _standard(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return ((x - mean) * scale).clamp(-CLIP, CLIP)


class Typed(nn.Module):
    """A linear map for each of some types; rows come sorted by type."""

    def __init__(self, types: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(types, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(types, outputs))

    def forward(self, x: Tensor, sizes: list[int]) -> Tensor:
        parts = [torch.addmm(self.bias[t], some, self.weight[t]) for t, some in enumerate(x.split(sizes)) if len(some)]
        return torch.cat(parts) if parts else x.new_zeros(0, self.bias.shape[1])


class Time(nn.Module):
    """Age as its log, as decays, and as learnable cosines of its log (Xu et al.: Inductive representation learning on temporal
    graphs, 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.linspace(0.5, 2.0, WAVES))
        self.phase = nn.Parameter(torch.zeros(WAVES))

    def forward(self, age_s: Tensor) -> Tensor:
        log = torch.log1p(age_s)[:, None]
        decays = [torch.exp(age_s * (-1.0 / tau))[:, None] for tau in DECAYS_S]
        return torch.cat([log * 0.1, *decays, torch.cos(log * self.frequency + self.phase)], 1)


class Gather(nn.Module):
    """Messages to the entity they go to: mean and maximum (GraphSAGE: Hamilton et al. 2017), additive attention (GATv2: Brody et
    al. 2022), or attention by typed keys and queries (HGT: Hu et al. 2020)."""

    def __init__(self, shape: Shape, inputs: int) -> None:
        super().__init__()
        self.kind, self.heads = shape.aggregation, shape.heads
        self.mean, self.max, self.sum = MeanAggregation(), MaxAggregation(), SumAggregation()
        if self.kind != "sage":
            self.query = Typed(shape.kinds, inputs, shape.width)
        if self.kind == "gatv2":
            self.attention = nn.Parameter(torch.empty(shape.width).uniform_(-0.3, 0.3))
        if self.kind == "hgt":
            self.key = Typed(1, shape.width, shape.width)

    def forward(self, message: Tensor, m: Messages, entities: Tensor, sizes: list[int]) -> Tensor:
        """`message`: (e, width), before its activation; to (entities, width or twice that)."""
        n, value = len(entities), torch.relu(message)
        if self.kind == "sage":
            most = self.max(value.index_select(0, m.order), ptr=m.starts)
            return torch.cat([self.mean(value, m.to, dim_size=n), most], 1)
        query = self.query(entities, sizes).index_select(0, m.to)
        if self.kind == "gatv2":
            product = nn.functional.leaky_relu(message + query, 0.2) * self.attention
        else:
            product = self.key(value, [len(value)]) * query * (self.heads / query.shape[1]) ** 0.5
        logits = product.view(len(value), self.heads, value.shape[1] // self.heads).sum(2)
        share = softmax(logits, m.to, num_nodes=n)
        weighted = value.view(len(value), self.heads, value.shape[1] // self.heads) * share[:, :, None]
        return self.sum(weighted.reshape(value.shape), m.to, dim_size=n)


class Net(nn.Module):
    """Entities from their events (first layer) and from those they met (second), and the head over an event's entities."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        k, w = shape.kinds, shape.width
        self.shape = shape
        self.register_buffer("x_mean", torch.zeros(shape.inputs))
        self.register_buffer("x_scale", torch.ones(shape.inputs))
        self.register_buffer("own_mean", torch.zeros(len(OWN)))
        self.register_buffer("own_scale", torch.ones(len(OWN)))
        self.register_buffer("dense_mean", torch.zeros(shape.dense))
        self.register_buffer("dense_scale", torch.ones(shape.dense))
        self.event_type = nn.Parameter(torch.randn(TYPES, w) * 0.1)
        self.time = Time()
        self.event, self.event_time = Typed(k, shape.inputs, w), Typed(k, TIMES, w)
        self.state = nn.Parameter(torch.randn(3, w) * 0.3)
        self.position = nn.Parameter(torch.randn(shape.events, w) * 0.1)
        self.told, self.told_time = Typed(k, shape.inputs, w), Typed(k, TIMES, w)
        self.told_state = nn.Parameter(torch.randn(3, w) * 0.3)
        self.told_position = nn.Parameter(torch.randn(shape.labelled, w) * 0.1)
        self.gather_events, self.gather_told = Gather(shape, len(OWN)), Gather(shape, len(OWN))
        self.first = Typed(k, len(OWN) + 2 * shape.gathered, w)
        self.relation, self.relation_time = Typed(k * k, w, w), Typed(k * k, TIMES, w)
        self.gather_met = Gather(shape, w)
        self.second = Typed(k, w + shape.gathered, w)
        self.new = Typed(k, shape.inputs + w, w)
        self.head = nn.ModuleList(
            [nn.Linear(shape.head_inputs, shape.hidden), nn.Linear(shape.hidden, w), nn.Linear(w, 1)]
        )
        nn.init.zeros_(self.head[-1].weight)
        nn.init.zeros_(self.head[-1].bias)
        self.amount, self.gap = Typed(k, w, 1), Typed(k, w, 1)
        self.pair = nn.Parameter(torch.randn(k, k, w, w) * 0.1)

    def embed(self, s: Sample) -> Tensor:
        """(second, width): embeddings as of their marks."""
        first = self.entities(s)
        inner = first.index_select(0, s.inner)
        met = self.relation(first.index_select(0, s.met.source), s.met.sizes)
        met = met + self.relation_time(self.time(s.met.age_s), s.met.sizes)
        near = self.gather_met(met, s.met, inner, s.inner_sizes)
        return inner + self.second(torch.cat([inner, near], 1), s.inner_sizes)

    def entities(self, s: Sample) -> Tensor:
        """(first, width): from their own events."""
        own = _standard(s.own, self.own_mean, self.own_scale)
        events = self._tell(s.events, self.event, self.event_time, self.state, self.position)
        told = self._tell(s.labelled, self.told, self.told_time, self.told_state, self.told_position)
        heard = self.gather_events(events, s.events, own, s.sizes)
        learnt = self.gather_told(told, s.labelled, own, s.sizes)
        return torch.relu(self.first(torch.cat([own, heard, learnt], 1), s.sizes))

    def _tell(self, m: Messages, linear: Typed, time: Typed, state: Tensor, position: Tensor) -> Tensor:
        """(e, width): one product a kind, of everything a message is made of."""
        inputs = self.shape.inputs
        x = torch.cat([_standard(m.x[:, :inputs], self.x_mean, self.x_scale), m.x[:, inputs:], self.time(m.age_s)], 1)
        parts = []
        for k, some in enumerate(x.split(m.sizes)):
            weight = torch.cat([linear.weight[k], self.event_type, state, position, time.weight[k]])
            parts.append(torch.addmm(linear.bias[k] + time.bias[k], some, weight))
        return torch.cat(parts)

    def placed(self, s: Sample, z: Tensor) -> tuple[Tensor, Tensor]:
        """(n, kinds, width): the embeddings of each event's entities, zeros where there is none; and (n, kinds), whether an entity
        is new. A new one is told from the event, and from the embeddings of those it meets there."""
        at = torch.where(s.slots >= 0, s.slots, len(z)).flatten()
        old = torch.cat([z, z.new_zeros(1, z.shape[1])]).index_select(0, at)
        return self.beside(s, old.view(*s.slots.shape, -1))

    def beside(self, s: Sample, old: Tensor) -> tuple[Tensor, Tensor]:
        """`placed`, of embeddings that are in their places."""
        known = s.slots >= 0
        mean = old.sum(1) / known.sum(1).clamp(min=1)[:, None]
        x = _standard(s.x, self.x_mean, self.x_scale)
        fresh = s.present & ~known
        told = torch.cat([x, mean], 1)
        slots = []
        for k in range(self.shape.kinds):
            made = torch.relu(torch.addmm(self.new.bias[k], told, self.new.weight[k]))
            slots.append(torch.where(fresh[:, k, None], made, old[:, k]))
        return torch.stack(slots, 1), fresh

    def margin(self, s: Sample, slots: Tensor, fresh: Tensor, dropout: float = 0.0) -> Tensor:
        """(n,): log-odds."""
        slots = nn.functional.dropout(slots, dropout, self.training)
        ages = torch.log1p(s.age_s) * 0.1
        missing = torch.isnan(s.dense)
        dense = _standard(torch.where(missing, self.dense_mean, s.dense), self.dense_mean, self.dense_scale)
        x = _standard(s.x, self.x_mean, self.x_scale)
        parts = [slots.flatten(1), ages, fresh.to(x.dtype), x, self.event_type[s.type], dense, missing.to(x.dtype)]
        h = torch.cat(parts, 1)
        for layer in self.head[:-1]:
            h = nn.functional.dropout(torch.relu(layer(h)), dropout, self.training)
        return self.head[-1](h)[:, 0]

    def self_supervised(self, s: Sample, slots: Tensor, shuffled: Tensor) -> Tensor:
        """One number: how badly embeddings tell the next amount and gap of each entity, and those that meet from those that do
        not (`shuffled`, (n,): the order in which events lend their entities)."""
        x, known, total = _standard(s.x, self.x_mean, self.x_scale), s.slots >= 0, slots.new_zeros(())
        for k in range(self.shape.kinds):
            if not bool(known[:, k].any()):
                continue
            z = slots[known[:, k], k]
            for typed, column in ((self.amount, AMOUNT), (self.gap, gap_column(k))):
                wanted = x[known[:, k], column]
                total = total + nn.functional.smooth_l1_loss((z @ typed.weight[k] + typed.bias[k])[:, 0], wanted)
            for other in range(k + 1, self.shape.kinds):
                if bool((both := known[:, k] & known[:, other]).any()):
                    left, right = slots[:, k] @ self.pair[k, other], slots[:, other]
                    true, false = (left * right).sum(1), (left * right[shuffled]).sum(1)
                    usable = both & both[shuffled]
                    total = total + nn.functional.softplus(-true[both]).mean()
                    total = total + (nn.functional.softplus(false) * usable).sum() / usable.sum().clamp(min=1)
        return total / self.shape.kinds


def weights_of(net: Net) -> Weights:
    """What serving evaluates."""

    def array(tensor: Tensor) -> NDArray[np.float32]:
        return np.ascontiguousarray(tensor.detach().cpu().numpy().astype(np.float32))

    def typed(one: Typed) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return array(one.weight), array(one.bias)

    def gather(one: Gather) -> GatherWeights:
        nothing = net.x_mean.new_zeros
        query = typed(one.query) if one.kind != "sage" else (array(nothing(1, 1, 1)), array(nothing(1, 1)))
        attention = array(one.attention if one.kind == "gatv2" else nothing(1))
        key = (
            (array(one.key.weight[0]), array(one.key.bias[0]))
            if one.kind == "hgt"
            else (array(nothing(1, 1)), array(nothing(1)))
        )
        return GatherWeights(*query, attention, *key)

    layers = [(array(layer.weight.T), array(layer.bias)) for layer in net.head]
    return Weights(
        array(net.x_mean), array(net.x_scale), array(net.own_mean), array(net.own_scale), array(net.dense_mean),
        array(net.dense_scale), array(net.event_type), array(net.time.frequency), array(net.time.phase),
        Tell(*typed(net.event), *typed(net.event_time), array(net.state), array(net.position)),
        Tell(*typed(net.told), *typed(net.told_time), array(net.told_state), array(net.told_position)),
        gather(net.gather_events), gather(net.gather_told), gather(net.gather_met), *typed(net.first), *typed(net.relation),
        *typed(net.relation_time), *typed(net.second), *typed(net.new), *layers[0], *layers[1], layers[2][0][:, 0].copy(), layers[2][1],
    )  # fmt: skip
