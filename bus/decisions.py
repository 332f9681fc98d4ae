"""Batches of decisions to messages and back, exact to the bit but for the times of computing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from bus.messages import ActionName, DecisionMessage, LevelName
from features.codec import FeatureCodec
from ringwatch.errors import Corrupt
from ringwatch.model import Action, Level, Versions
from scorers.decision import Decisions

_LEVELS = cast("tuple[LevelName, ...]", tuple(level.name for level in Level))
_ACTIONS = cast("tuple[ActionName, ...]", tuple(action.name.lower() for action in Action))
_LEVEL_CODES = {name: code for code, name in enumerate(_LEVELS)}
_ACTION_CODES = {name: code for code, name in enumerate(_ACTIONS)}
_encode = msgspec.json.Encoder().encode


def decision_messages(
    decisions: Decisions, origins: Sequence[str], decided_us: Sequence[int], codec: FeatureCodec
) -> list[bytes]:
    """An encoded `DecisionMessage` for each row; `origins` and `decided_us` have one entry a row. NaN scores become null."""
    d = decisions
    names = d.scorer_names
    # The same in many rows, so encoded once.
    of_version: dict[int, Any] = {id(v): v for v in d.versions}
    of_version = {key: msgspec.Raw(_encode(v)) for key, v in of_version.items()}
    timing: Any = msgspec.Raw(_encode({stage: round(us, 2) for stage, us in d.timing_us.items()}))
    nobody: tuple[tuple[str, ...], ...] = ((),) * len(d)
    ages = d.features[:, codec.schema.index["ring.age_s"]].tolist()
    embeddings = d.embedding_age_s or (None,) * len(d)
    rows = zip(
        d.events, d.score.tolist(), d.level.tolist(), d.action.tolist(), d.scores.tolist(), d.reasons, d.patterns,
        d.ring_ids or (None,) * len(d), ages, embeddings, d.accounts or nobody, d.degraded, codec.pack(d.events, d.features),
        origins, decided_us, d.versions, d.links or (b"",) * len(d), d.hoods or (b"",) * len(d), strict=True,
    )  # fmt: skip
    return [
        _encode(
            DecisionMessage(
                v=1,
                tenant=event.tenant,
                event_id=event.event_id,
                at_us=event.at_us,
                user=event.entities.get("user"),
                score=score,
                level=_LEVELS[level],
                action=_ACTIONS[action],
                scores=dict(zip(names, scores, strict=True)),
                reasons=reasons,
                patterns=patterns,
                ring=ring,
                ring_age_s=age,
                embedding_age_s=oldest,
                accounts=accounts,
                degraded=degraded,
                versions=of_version[id(of)],
                timing_us=timing,
                event=event,
                features=blob,
                origin=origin,
                decided_us=at,
                links=links or msgspec.UNSET,
                hood=hood or msgspec.UNSET,
            )
        )
        for event, score, level, action, scores, reasons, patterns, ring, age, oldest, accounts, degraded, blob, origin, at, of, links, hood in rows
    ]


def to_decisions(messages: Sequence[DecisionMessage], codec: FeatureCodec, seq: NDArray[np.int64]) -> list[Decisions]:
    """The messages in order as batches of equal schema and scorers; `seq` int64 (n,) numbers them. Timings are averaged over a batch.

    Raises Corrupt for features of another schema or of a wrong size.
    """
    found: list[Decisions] = []
    start = 0
    for _, group in groupby(messages, key=lambda m: (m.versions.schema, m.versions.scorers, tuple(m.scores))):
        piece = list(group)
        found.append(_piece(piece, codec, seq[start : start + len(piece)]))
        start += len(piece)
    return found


def _piece(messages: Sequence[DecisionMessage], codec: FeatureCodec, seq: NDArray[np.int64]) -> Decisions:
    names = tuple(messages[0].scores)
    timing_us: dict[str, float] = {}
    for message in messages:
        for stage, us in message.timing_us.items():
            timing_us[stage] = timing_us.get(stage, 0.0) + us / len(messages)
    return Decisions(
        events=[m.event for m in messages],
        seq=seq,
        features=_features(messages, codec),
        schema=codec.schema,
        scorer_names=names,
        scores=np.array(
            [[np.nan if s is None else s for s in m.scores.values()] for m in messages], np.float64
        ).reshape(len(messages), len(names)),
        score=np.array([m.score for m in messages], np.float64),
        level=np.array([_LEVEL_CODES[m.level] for m in messages], np.uint8),
        action=np.array([_ACTION_CODES[m.action] for m in messages], np.uint8),
        reasons=[m.reasons for m in messages],
        versions=_shared([m.versions for m in messages]),
        timing_us=timing_us,
        degraded=[m.degraded for m in messages],
        patterns=[m.patterns for m in messages],
        ring_ids=[m.ring for m in messages],
        accounts=[m.accounts for m in messages],
        embedding_age_s=[m.embedding_age_s for m in messages],
        links=[m.links or b"" for m in messages],
        hoods=[m.hood or b"" for m in messages],
    )


def _shared(versions: Sequence[Versions]) -> list[Versions]:
    """Equal ones as one object; those of a batch differ in the policy alone."""
    known: dict[str, Versions] = {}
    return [known.setdefault(v.policy, v) for v in versions]


def _features(messages: Sequence[DecisionMessage], codec: FeatureCodec) -> NDArray[np.float32]:
    schema = codec.schema
    made_with = messages[0].versions.schema
    if made_with != schema.hash:
        raise Corrupt(
            f"event {messages[0].event_id!r} was decided with feature schema {made_with}, this process has {schema.hash}",
            hint="run all roles with one version and one list of kinds; older decisions are read by the version that made them",
        )
    features = np.empty((len(messages), schema.size), np.float32)
    for row, message in enumerate(messages):
        try:
            features[row] = codec.unpack(message.features)
        except (ValueError, IndexError) as error:
            raise Corrupt(
                f"features of event {message.event_id!r} cannot be unpacked: {error}",
                hint="who else writes to the topic?",
            ) from None
    return features
