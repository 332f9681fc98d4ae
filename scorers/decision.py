"""One batch of decisions in columns: what flows from scoring to the ledger, the graph and the consumers."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from features.schema import FeatureSchema
from ringwatch.model import Action, Assessment, Event, Level, Reason, Versions

_ONE_IN = 100


def asked_about(events: Sequence[Event], level: NDArray[np.uint8], action: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(n,): of which decisions what they were made from is kept: of alerts, of whatever is not simply allowed, and of one event in a
    hundred (by its id, the same wherever it is decided)."""
    found: NDArray[np.bool_] = (level >= int(Level.MEDIUM)) | (action != int(Action.ALLOW))
    for row, event in enumerate(events):
        found[row] |= zlib.crc32(event.event_id.encode("utf-8", "surrogatepass")) % _ONE_IN == 0
    return found


@dataclass(frozen=True, slots=True)
class Decisions:
    """Scored events in order, as columns.

    `features` float32 (n, schema.size); `scores` float64 (n, scorers), NaN abstained; `score` float64 (n,) in [0, 1];
    `level`, `action` uint8 (n,); `seq` int64 (n,), the running number of each event in this data folder.
    """

    events: Sequence[Event]
    seq: NDArray[np.int64]
    features: NDArray[np.float32]
    schema: FeatureSchema
    scorer_names: tuple[str, ...]
    scores: NDArray[np.float64]
    score: NDArray[np.float64]
    level: NDArray[np.uint8]
    action: NDArray[np.uint8]
    reasons: Sequence[tuple[Reason, ...]]
    """One entry an event; empty below the explained level but for rules in shadow, whose contribution is 0."""
    versions: Sequence[Versions]
    """One entry an event; the same object for all that have the same."""
    timing_us: dict[str, float]
    """stage -> microseconds, an event's share of the batch."""
    degraded: Sequence[tuple[str, ...]]
    patterns: Sequence[tuple[str, ...]]
    """Fraud patterns at or over their alert threshold, one entry an event, strongest first."""
    ring_ids: Sequence[str | None]
    """The ring of each event's user as of the event; empty where rings are not kept."""
    accounts: Sequence[tuple[str, ...]] = ()
    """Accounts concerned by events with patterns; empty where rings are not kept."""
    embedding_age_s: Sequence[float | None] = ()
    """Of the oldest embedding that a model's graph network was asked with, one entry an event; empty where none was."""
    links: Sequence[bytes] = ()
    """Links that the features were read from (`features.seen.pack`), one entry an event, b"" where they are not kept; empty where
    none are."""
    hoods: Sequence[bytes] = ()
    """What the champion's graph network saw (`gnn.kept.pack`); as `links`."""

    def ring_id(self, row: int) -> str | None:
        return self.ring_ids[row] if self.ring_ids else None

    def __len__(self) -> int:
        return len(self.events)

    def select(self, start: int, stop: int) -> Decisions:
        """Rows start..stop, as views."""
        if start == 0 and stop == len(self.events):
            return self
        cut = slice(start, stop)
        return replace(
            self,
            events=self.events[cut],
            seq=self.seq[cut],
            features=self.features[cut],
            scores=self.scores[cut],
            score=self.score[cut],
            level=self.level[cut],
            action=self.action[cut],
            reasons=self.reasons[cut],
            versions=self.versions[cut],
            degraded=self.degraded[cut],
            patterns=self.patterns[cut],
            ring_ids=self.ring_ids[cut],
            accounts=self.accounts[cut],
            embedding_age_s=self.embedding_age_s[cut],
            links=self.links[cut],
            hoods=self.hoods[cut],
        )

    @classmethod
    def concatenate(cls, pieces: Sequence[Decisions]) -> Decisions:
        """Consecutive pieces of one stream as one batch; timings are averaged over the events. Scores are by the names of the last, since a
        version of Ringwatch with other scorers may have made the first."""
        if len(pieces) == 1:
            return pieces[0]
        total = max(1, sum(len(p) for p in pieces))
        timing_us: dict[str, float] = {}
        for piece in pieces:
            for stage, value in piece.timing_us.items():
                timing_us[stage] = timing_us.get(stage, 0.0) + value * len(piece) / total
        names = pieces[-1].scorer_names
        return replace(
            pieces[-1],
            events=[e for p in pieces for e in p.events],
            seq=np.concatenate([p.seq for p in pieces]),
            features=np.concatenate([p.features for p in pieces]),
            scores=np.concatenate([p.scores_of(names) for p in pieces]),
            score=np.concatenate([p.score for p in pieces]),
            level=np.concatenate([p.level for p in pieces]),
            action=np.concatenate([p.action for p in pieces]),
            reasons=[r for p in pieces for r in p.reasons],
            versions=[v for p in pieces for v in p.versions],
            degraded=[d for p in pieces for d in p.degraded],
            patterns=[n for p in pieces for n in p.patterns],
            ring_ids=[r for p in pieces for r in p.ring_ids],
            accounts=[a for p in pieces for a in p.accounts],
            embedding_age_s=[age_s for p in pieces for age_s in p.embedding_age_s or (None,) * len(p)],
            links=[kept for p in pieces for kept in p.links or (b"",) * len(p)],
            hoods=[kept for p in pieces for kept in p.hoods or (b"",) * len(p)],
            timing_us=timing_us,
        )

    def scores_of(self, names: Sequence[str]) -> NDArray[np.float64]:
        """(n, names): scores by these names, NaN where there is none of a name."""
        if tuple(names) == self.scorer_names:
            return self.scores
        places = {name: j for j, name in enumerate(self.scorer_names)}
        nothing = np.full(len(self), np.nan)
        return np.column_stack([self.scores[:, places[name]] if name in places else nothing for name in names])

    def assessment(self, row: int) -> Assessment:
        event = self.events[row]
        scores = {
            name: value if value == value else None
            for name, value in zip(self.scorer_names, self.scores[row].tolist(), strict=True)
        }
        return Assessment(
            event_id=event.event_id,
            tenant=event.tenant,
            at_us=event.at_us,
            user=event.user,
            score=float(self.score[row]),
            level=Level(int(self.level[row])).name,
            action=Action(int(self.action[row])).name.lower(),
            scores=scores,
            reasons=tuple(self.reasons[row]),
            versions=self.versions[row],
            timing_us={stage: round(us, 2) for stage, us in self.timing_us.items()},
            degraded=tuple(self.degraded[row]),
            patterns=self.patterns[row],
            ring=self.ring_id(row),
            ring_age_s=self._ring_age_s(row),
            embedding_age_s=self.embedding_age_s[row] if self.embedding_age_s else None,
        )

    def _ring_age_s(self, row: int) -> float | None:
        age_s = float(self.features[row, self.schema.index["ring.age_s"]])
        return None if np.isnan(age_s) else age_s
