"""What an error of librdkafka means: one of ours, in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException

from ringwatch.errors import BadInput, Conflict, Corrupt, RingwatchError, ServerDenied, StoreAway

_UNKNOWN_USER = {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED}
_DENIED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}
_FENCED = {
    KafkaError._FENCED,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.FENCED_INSTANCE_ID,
}
_UNKNOWN_TOPIC = {KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART}
_TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}
_DAMAGED = {KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION, KafkaError.INVALID_MSG, KafkaError.OFFSET_OUT_OF_RANGE,
            KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION}  # fmt: skip


_PASSING = {KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.NOT_COORDINATOR,
            KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError._WAIT_COORD}  # fmt: skip
"""As after a topic was made or a broker left: over in a moment, though librdkafka does not say so of all calls."""
_OUR_CERTIFICATE = re.compile(r"SSL alert number (40|4[2-6]|48|49|116)\b")
"""What brokers say (TLS alerts) that want a certificate of ours, or another one."""
_UNSTEADY = re.compile(r" \(after \d+ms in state \w+(, \d+ identical error\(s\) suppressed)?\)")
_RETRY_S = 0.05
_T = TypeVar("_T")


def is_fatal(error: KafkaError) -> bool:
    """Whether the client that told it is of no more use."""
    return error.fatal() or error.code() == KafkaError._FATAL


def refused(error: KafkaError) -> bool:
    """Whether brokers answered and one side does not take the other: trying again does not help."""
    known = error.code() in _UNKNOWN_USER or error.code() == KafkaError._SSL
    return known or _OUR_CERTIFICATE.search(error.str()) is not None


def error_of(error: KafkaException | KafkaError) -> KafkaError:
    found = error.args[0] if isinstance(error, KafkaException) else error
    assert isinstance(found, KafkaError)
    return found


def explained(error: KafkaException | KafkaError, what: str) -> RingwatchError:
    """An error of librdkafka as ours, in words; `what` says what could not be done, for example "cannot commit"."""
    cause = error_of(error)
    code = cause.code()
    text = f"{what}: {_UNSTEADY.sub('', cause.str())} ({cause.name().lstrip('_').lower()})"
    # Of a fatal error librdkafka tells the cause in words only.
    fenced = code in _FENCED or (code == KafkaError._FATAL and "fenced" in cause.str())
    if fenced and not cause.txn_requires_abort():
        return Conflict(
            f"{what}: another process took over ({cause.name()})", hint="this one stops; look for a second one"
        )
    if code in _UNKNOWN_USER:
        named = "RINGWATCH_KAFKA_USERNAME, RINGWATCH_KAFKA_PASSWORD_FILE, RINGWATCH_KAFKA_SASL_MECHANISM"
        return ServerDenied(text, hint=f"check user, password and mechanism: {named}")
    if code in _DENIED:
        return ServerDenied(text, hint="check the access lists of the brokers: docs/kafka.md says what a user needs")
    if _OUR_CERTIFICATE.search(cause.str()):
        named = "RINGWATCH_KAFKA_CERT_FILE, RINGWATCH_KAFKA_KEY_FILE"
        return ServerDenied(text, hint=f"the brokers want a certificate signed by an authority they know: {named}")
    if code == KafkaError._SSL:
        return StoreAway(text, hint="check RINGWATCH_KAFKA_CA_FILE, and the names in the brokers' certificates")
    if code in _UNKNOWN_TOPIC:
        return StoreAway(text, hint="`ringwatch topics create` makes the topics")
    if code in _TOO_LARGE:
        return BadInput(text, hint="the topic says how large a message may be: `ringwatch topics create` allows 2 MB")
    if code in _DAMAGED:
        return Corrupt(text, hint="records the group needs are gone or damaged: look at the topic's retention")
    if code in (KafkaError._INVALID_ARG, KafkaError.INVALID_CONFIG, KafkaError.INVALID_REPLICATION_FACTOR):
        return BadInput(text, hint="check the settings for Kafka")
    return StoreAway(text, hint="are the brokers up, and reachable from here?")


def retried(call: Callable[[], _T], what: str, timeout_s: float) -> _T:
    """The call's answer; it is made again while what goes wrong passes by itself and there is time. Raises what `explained` makes
    of anything else."""
    until = monotonic() + timeout_s
    while True:
        try:
            return call()
        except KafkaException as error:
            cause = error_of(error)
            passing = cause.retriable() or cause.code() in _PASSING
            if not passing or is_fatal(cause) or monotonic() > until:
                raise explained(error, what) from None
        sleep(_RETRY_S)
