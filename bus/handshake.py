"""Why a broker's certificate is not taken. librdkafka says the same words of a wrong authority, a wrong name and one that expired."""

from __future__ import annotations

import re
import socket
import ssl
from pathlib import Path

_WAIT_S = 3.0
_BROKER = re.compile(r"ssl://(?P<host>[\w.-]+|\[[0-9a-fA-F:]+\]):(?P<port>\d+)/")


def doubt(said: str, ca_file: Path | None) -> str:
    """What is wrong with the certificate of the broker that librdkafka's error `said` names; empty when nothing is found.

    Connects to it, for three seconds at most. `ca_file`: None is the system's authorities.
    """
    named = _BROKER.search(said)
    if named is None:
        return ""
    host, port = named["host"].strip("[]"), int(named["port"])
    context = ssl.create_default_context(cafile=ca_file)
    try:
        with (
            socket.create_connection((host, port), _WAIT_S) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return ""
    except ssl.SSLCertVerificationError as error:
        return f"{host}:{port} shows a certificate that is not taken: {error.verify_message}"
    except OSError:
        return ""
