"""Messages out without a transaction, for scoring over HTTP: each batch is done when the brokers have all of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from bus.failures import explained
from ringwatch.errors import Unavailable
from roles.outgoing import Outgoing

Placed = dict[int, int]
"""partition of the decisions topic -> next offset after what was written."""
_POLL_S = 0.05


class Emitter:
    """Owns a producer and the thread that listens for its answers. `emit` may be called from one thread at a time.

    After a failure another producer is made: one that came out of a broker's restart wrong stays so.
    """

    def __init__(self, make: Callable[[], Producer], decisions: str) -> None:
        self._make = make
        self._producer = make()
        self._before: list[Producer] = []
        """Producers that failed, until what they still hold has failed or gone out, too."""
        self._failed = False
        self._decisions = decisions
        self._stopped = False
        self._thread = threading.Thread(target=self._listen, name="emitter", daemon=True)
        self._thread.start()

    def emit(self, messages: Sequence[Outgoing]) -> Future[Placed]:
        """Queue messages; the future is done on the listening thread once all are written, or has `Unavailable`."""
        if self._failed:
            self._before = [*self._before, self._producer]
            self._failed, self._producer = False, self._make()
        batch = _Batch(len(messages), self._decisions)
        batch.future.add_done_callback(self._ended)
        for topic, key, value in messages:
            try:
                self._producer.produce(topic, value, key, on_delivery=batch.delivered)
            except (BufferError, KafkaException) as error:
                batch.failed(error)
        return batch.future

    def _ended(self, batch: Future[Placed]) -> None:
        if batch.exception() is not None:
            self._failed = True

    def close(self, timeout_s: float = 10.0) -> None:
        """Wait for what is on its way, then stop listening."""
        self._producer.flush(timeout_s)
        self._stopped = True
        self._thread.join()

    def _listen(self) -> None:
        while not self._stopped:
            self._producer.poll(_POLL_S)
            for producer in self._before:
                producer.poll(0)
            self._before = [producer for producer in self._before if len(producer)]


class _Batch:
    def __init__(self, left: int, decisions: str) -> None:
        self.future: Future[Placed] = Future()
        self._left = left
        self._decisions = decisions
        self._placed: Placed = {}
        self._error: Exception | None = None
        self._lock = threading.Lock()
        if not left:
            self.future.set_result({})

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed(KafkaException(error))
            return
        partition, offset = message.partition(), message.offset()
        if message.topic() == self._decisions and partition is not None and offset is not None:
            self._placed[partition] = max(self._placed.get(partition, 0), offset + 1)
        self._one_less()

    def failed(self, error: Exception) -> None:
        if isinstance(error, KafkaException):
            self._error = explained(error, "the decision cannot be written")
        else:
            self._error = Unavailable("too many decisions wait for Kafka", hint="send it again later")
        self._one_less()

    def _one_less(self) -> None:
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self.future.set_exception(self._error) if self._error is not None else self.future.set_result(self._placed)
