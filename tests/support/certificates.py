"""A certificate authority of a test's own: certificates for servers and clients, as PEM files, by the `openssl` program."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.backends import absent

_WAIT_S = 60
_AUTHORITY = "basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\n"
_LEAF = (
    "basicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n"
    "extendedKeyUsage = serverAuth, clientAuth\n"
)
_IDENTIFIERS = "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n"


@dataclass(frozen=True)
class Certificate:
    """PEM files, readable by their owner alone."""

    cert: Path
    key: Path
    """PKCS #8, no password on it."""

    @property
    def store(self) -> Path:
        """The key and its certificate in one file, as Kafka's brokers want it."""
        both = self.cert.with_suffix(".store.pem")
        _write(both, self.key.read_text() + self.cert.read_text())
        return both


class Authority:
    """Signs certificates, good for two days. Skips the test where there is no `openssl`."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        if shutil.which("openssl") is None:
            raise absent("no openssl is installed, to make certificates with")
        self._folder = folder
        made = _made(folder, name, _AUTHORITY, [])
        self.cert, self._key = made.cert, made.key

    def issue(self, name: str, *names: str) -> Certificate:
        """For the common name `name`; `names` as "DNS:localhost" or "IP:127.0.0.1". Fit for servers and clients."""
        also = f"subjectAltName = {','.join(names)}\n" if names else ""
        return _made(self._folder, name, _LEAF + also, ["-CA", self.cert, "-CAkey", self._key])


def _made(folder: Path, name: str, extensions: str, signer: list[str | Path]) -> Certificate:
    """Self-signed without a `signer`."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    config = folder / f"{name}.cnf"
    config.write_text(f"[req]\ndistinguished_name = dn\n[dn]\n[made]\n{_IDENTIFIERS}{extensions}")
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2",
        "-config", config, "-extensions", "made", "-subj", f"/CN={name}", "-keyout", made.key, "-out", made.cert, *signer,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=_WAIT_S)
    assert done.returncode == 0, done.stderr
    made.key.chmod(0o600)
    return made


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
