"""Java servers: their jars from Maven Central, once for a user, and the command line that runs them."""

from __future__ import annotations

import fcntl
import hashlib
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ringwatch.errors import NotFound, Unavailable
from servers.process import run
from servers.server import Say, program

_LEAST_JAVA = 17
_SAY_EVERY_S = 10.0
_TAIL = 12


def deploy_folder() -> Path:
    """Where `pom.xml` and the log settings lie: beside this package, installed or in a checkout."""
    return Path(__file__).parents[1] / "deploy" / "servers"


def java() -> Path:
    """Raises NotFound when there is no Java or it is too old."""
    found = program("java", "openjdk-17-jre-headless")
    code, text = run([str(found), "-version"])
    version = re.search(r'version "(?:1\.)?(\d+)', text)
    if code or version is None or int(version[1]) < _LEAST_JAVA:
        said = text.strip().splitlines()[0] if text.strip() else "nothing"
        raise NotFound(
            f"{found} is not Java {_LEAST_JAVA} or newer: it says {said}",
            hint="on Debian and Ubuntu: apt-get install openjdk-17-jre-headless",
        )
    return found


def class_path(profile: str, say: Say) -> Path:
    """A Java argument file with the class path of one server; its jars are resolved the first time.

    Raises NotFound without Maven, Unavailable when the jars cannot be fetched.
    """
    kept = _kept(profile)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with _held(kept.with_name("lock")):
        if not _whole(kept):
            _resolve(profile, kept, say)
    return kept


def require_jars(profile: str) -> None:
    """Raises NotFound when the jars are not here yet and there is no Maven to fetch them."""
    if not _whole(_kept(profile)):
        program("mvn", "maven")


def _kept(profile: str) -> Path:
    digest = hashlib.sha256(_pom().read_bytes()).hexdigest()[:16]
    return Path.home() / ".cache" / "ringwatch" / "servers" / digest / f"{profile}.args"


def _pom() -> Path:
    return deploy_folder() / "pom.xml"


def flags(args: Path, heap_mb: int, *more: str, quick: bool = False) -> list[str]:
    """Options of every Java server here. The serial collector starts quickest and suits heaps under a gigabyte."""
    collector = "-XX:+UseSerialGC" if heap_mb < 1024 else "-XX:+UseG1GC"
    light = ["-XX:TieredStopAtLevel=1"] if quick else []
    return [f"-Xms{heap_mb}m", f"-Xmx{heap_mb}m", collector, "-XX:+ExitOnOutOfMemoryError", *light, *more, f"@{args}"]


def _resolve(profile: str, kept: Path, say: Say) -> None:
    listed = kept.with_suffix(".classpath")
    _maven(
        [
            "--batch-mode", "--no-transfer-progress", "--strict-checksums", "--file", str(_pom()), "--activate-profiles",
            profile, "dependency:build-classpath", f"-Dmdep.outputFile={listed}", "-DincludeScope=runtime",
        ],
        folder=kept.parent,
        say=say,
    )  # fmt: skip
    kept.write_text(f'-cp "{listed.read_text().strip()}"\n')
    listed.unlink()


def _maven(arguments: Sequence[str], *, folder: Path, say: Say) -> None:
    maven = program("mvn", "maven")
    say("fetching its jars from Maven Central, this first time")
    log = folder / "maven.log"
    with log.open("w") as output:
        child = subprocess.Popen(
            [str(maven), *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _watch(child, say)
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
    if child.returncode:
        tail = "\n       ".join(log.read_text(errors="replace").splitlines()[-_TAIL:])
        raise Unavailable(
            f"Maven could not fetch the jars (status {child.returncode}):\n       {tail}",
            hint=f"all of it is in {log}; behind a proxy or with a mirror of your own: ~/.m2/settings.xml",
        )


def _watch(child: subprocess.Popen[bytes], say: Say) -> None:
    started = said = time.monotonic()
    while child.poll() is None:
        time.sleep(0.1)
        if time.monotonic() - said > _SAY_EVERY_S:
            said = time.monotonic()
            say(f"still fetching jars, {said - started:.0f} s")


def _whole(kept: Path) -> bool:
    """Whether the argument file is there and every jar it names still is."""
    if not kept.exists():
        return False
    return all(Path(jar).exists() for jar in kept.read_text().removeprefix('-cp "').rstrip('"\n').split(":"))


@contextmanager
def _held(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
