"""Work on a Ray cluster, the only home of ``ray``: joining one, handing out a function, taking what it returned.

Not here: what is spread, and in which order results are taken (``workers.py``).  The fact to know: the machines share
files, not memory; every one must see the project's folder at the same path and have the same annoloop, and is asked.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annoloop import __version__
from annoloop.errors import AnnoloopError, ConfigError, MissingExtraError

_PROBE_S = 3.0
_ANSWER_S = 60.0
"""How long the machines may take to say what they have; each starts a Python for it."""

_PULSE_S = 2.0
_MISSED_PULSES = 3
"""So often in a row nobody may answer before the cluster counts as lost.  Ray itself would end our process then."""

_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the future default; Ray warns until one chooses
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # its remarks on lost processes would go to stdout, among our results
    "RAY_NUM_REDIS_GET_RETRIES": "4",  # tries of a second each to be let in
    "RAY_gcs_server_request_timeout_seconds": "10",  # to find the part of the cluster on this machine
}
"""Ray reads them when it is imported; what the user has set stays."""

_BEGIN = "see 'More than one machine' in the documentation; ray start --head begins a cluster and says its address"

_HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""The preface of a connection and an empty SETTINGS frame (RFC 9113, 3.4 and 6.5)."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine of the cluster lends."""

    name: str
    cores: int
    gpus: int


class Pulse:
    """Whether the cluster's head still answers, asked while nothing comes."""

    def __init__(self, host: str, port: int) -> None:
        self.place = _joined(host, port)
        self._address = host, port
        self._missed, self._asked_at = 0, time.monotonic()

    def feel(self) -> None:
        """Ask, unless that was just done.

        Raises:
            AnnoloopError: nobody answered several times in a row.
        """
        if time.monotonic() < self._asked_at + _PULSE_S:
            return
        self._missed = 0 if _answers(*self._address) else self._missed + 1
        self._asked_at = time.monotonic()
        if self._missed == _MISSED_PULSES:
            hint = "what was finished is kept; start it again, or go on without --ray"
            raise AnnoloopError("the Ray cluster is gone: nobody answers any more", where=self.place, hint=hint)


@dataclass(frozen=True, slots=True)
class RayCluster:
    """A cluster that we have joined."""

    ray: Any
    machines: tuple[Machine, ...]
    call: Any
    pulse: Pulse

    @property
    def cores(self) -> int:
        """All cores together."""
        return sum(machine.cores for machine in self.machines)

    def submit(self, function: Callable[..., Any], *arguments: Any, cores: int = 1, gpus: int = 0) -> Begun:
        """Begin ``function(*arguments)`` on a machine that has so much free.

        Function and arguments are pickled as for a worker process.  Where the process or the machine is lost, Ray
        begins anew elsewhere, up to three times.
        """
        # As bytes: arrays that Ray itself unpickles could not be written to, unlike those of a process of ours.
        work = pickle.dumps((function, arguments))
        return Begun(self, self.call.options(num_cpus=cores, num_gpus=gpus).remote(work))

    def wait(self, begun: Sequence[Begun], timeout_s: float) -> list[Begun]:
        """One of them that is done, or none when the time is over.

        Raises:
            AnnoloopError: the cluster is gone.
        """
        of_reference = {one.reference: one for one in begun}
        done, _ = self.ray.wait(list(of_reference), timeout=timeout_s)
        if not done:
            self.pulse.feel()
        return [of_reference[reference] for reference in done]


@dataclass(frozen=True, slots=True, eq=False)
class Begun:
    """Work under way on a cluster, to be asked like a ``concurrent.futures.Future``."""

    cluster: RayCluster
    reference: Any

    def result(self) -> Any:
        """Wait, and return what the function returned, or raise what it raised.

        Raises:
            AnnoloopError: the work was lost again and again, or the cluster is gone.
        """
        while not self.cluster.wait([self], _PULSE_S):
            pass
        ray = self.cluster.ray
        try:
            return pickle.loads(ray.get(self.reference))  # noqa: S301 - made by ``_call``
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.RayError as error:
            raise AnnoloopError(
                f"the Ray cluster lost a part of the work again and again ({str(error).splitlines()[0]})",
                where=self.cluster.pulse.place,
                hint="most often memory ran out there: ray start --num-cpus makes fewer processes",
            ) from error

    def cancel(self) -> None:
        """Nobody waits for it any more: it does not begin, or is interrupted."""
        self.cluster.ray.cancel(self.reference)


@contextmanager
def connected(address: str, folder: Path | None) -> Iterator[RayCluster]:
    """Inside, this process belongs to the cluster at ``address``: host:port, or "auto" for the one begun here.

    Every machine is asked for its annoloop, and whether it sees ``folder``; None: no files are shared.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: no cluster answers there or lets us in, or a machine lacks what it needs.
    """
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError("ray", "ray")
    host, port = _split(_begun_here() if address == "auto" else address)
    if not _answers(host, port):
        raise ConfigError("no Ray cluster answers there", where=_joined(host, port), hint=_BEGIN)
    _prepare(loopback=host in _LOOPBACK, here=address == "auto" or host in _LOOPBACK)
    import ray

    if host in _LOOPBACK and ray.util.get_node_ip_address() not in _LOOPBACK:
        hint = "set RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 before that, or take the machine's own address"
        raise ConfigError("Ray was imported before, and knows no loopback address", where=address, hint=hint)
    _join(ray, _joined(host, port))
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        _ask_all(ray, nodes, folder)
        cluster = RayCluster(ray, tuple(map(_machine, nodes)), ray.remote(_call), Pulse(host, port))
        if cluster.cores == 0:
            raise ConfigError("the Ray cluster lends no cores", where=address, hint="ray start --num-cpus=4")
        # Ray makes a function known with its first call, and would wait for ever for a head that was lost before.
        cluster.submit(int, cores=0).result()
        yield cluster
    finally:
        ray.shutdown()


def _join(ray: Any, place: str) -> None:
    try:
        ray.init(address=place, log_to_driver=False, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise ConfigError(
            f"the Ray cluster does not let us in ({_said(error.__cause__ or error)})",
            where=place,
            hint="this machine must be part of it (ray start --address=…), with the same versions of Ray and Python;"
            " if it asks for a token, set RAY_AUTH_MODE=token",
        ) from error


def _call(work: bytes) -> bytes:
    function, arguments = pickle.loads(work)  # noqa: S301 - from ``submit``
    return pickle.dumps(function(*arguments))


def _machine(node: Mapping[str, Any]) -> Machine:
    lent = node["Resources"]
    return Machine(node["NodeManagerHostname"], int(lent.get("CPU", 0)), int(lent.get("GPU", 0)))


# what every machine must have


def _ask_all(ray: Any, nodes: Sequence[Mapping[str, Any]], folder: Path | None) -> None:
    """Compare every machine's annoloop with ours, and let it look for a file that only this folder has."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    with _marked(folder) as mark:
        ask = ray.remote(num_cpus=0, max_retries=0)(_question(mark))
        on = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
        asked = [ask.options(scheduling_strategy=one).remote() for one in on]
        answered = set(ray.wait(asked, num_returns=len(asked), timeout=_ANSWER_S)[0])
        for node, one in zip(nodes, asked, strict=True):
            name = node["NodeManagerHostname"]
            if one not in answered:
                raise ConfigError(f"does not answer within {_ANSWER_S:.0f} s", where=name, hint="see ray status")
            _judge(name, folder, *ray.get(one))


@contextmanager
def _marked(folder: Path | None) -> Iterator[str | None]:
    """The path of a file that is nowhere else, while it is there."""
    if folder is None:
        yield None
        return
    with tempfile.NamedTemporaryFile(prefix=".seen-by-all-", dir=folder) as file:
        yield file.name


def _question(mark: str | None) -> Callable[[], tuple[str | None, bool]]:
    def answer() -> tuple[str | None, bool]:
        # Sent by value, so that it can be asked where there is no annoloop.
        try:
            from annoloop import __version__ as version
        except ImportError:
            return None, False
        return version, mark is None or os.path.exists(mark)  # noqa: PTH110 - needs nothing but what is sent

    return answer


def _judge(name: str, folder: Path | None, version: str | None, sees: bool) -> None:
    if version is None:
        hint = f"the Python that started Ray there needs it: pip install 'annoloop[ray]=={__version__}'"
        raise ConfigError("has no annoloop", where=f"machine {name}", hint=hint)
    if version != __version__:
        raise ConfigError(
            f"has annoloop {version}, here it is {__version__}",
            where=f"machine {name}",
            hint="install the same version everywhere, and start Ray there again",
        )
    if not sees:
        raise ConfigError(
            f"does not see {folder}",
            where=f"machine {name}",
            hint="all machines need the same files at the same paths: put project and data on a shared disk",
        )


# addresses


def _begun_here() -> str:
    """The address of the cluster that ``ray start --head`` began on this machine, as Ray wrote it down."""
    told = os.environ.get("RAY_ADDRESS")
    file = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")  # noqa: S108 - Ray's own choice
    if told:
        return told
    if not file.is_file():
        raise ConfigError("no Ray cluster was begun on this machine", where="--ray auto", hint=_BEGIN)
    return file.read_text(encoding="utf-8").strip()


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"{address!r} is no address of a Ray cluster", where="--ray", hint="host:port, or auto")
    return host.strip("[]"), int(port)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _answers(host: str, port: int) -> bool:
    """Whether a gRPC server listens there; Ray itself would wait for minutes to find out."""
    try:
        with socket.create_connection((host, port), timeout=_PROBE_S) as stream:
            if os.environ.get("RAY_USE_TLS", "0") == "1":
                return True  # says nothing before a handshake, which is Ray's affair
            stream.sendall(_HTTP2_GREETING)
            header = stream.recv(9)
    except OSError:
        return False
    return len(header) == 9 and header[3] == 4  # a server's first frame is its SETTINGS, type 4


def _prepare(*, loopback: bool, here: bool) -> None:
    """Set what Ray reads when it is imported; ``here``: the cluster was begun on this machine."""
    settings = dict(_SETTINGS)
    if loopback:
        # Ray turns a loopback address into the machine's own, where then nobody listens, unless it is told that
        # no other machine is wanted.  The variable is named after the systems where that is the default.
        settings["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    if here and _has_token():
        settings["RAY_AUTH_MODE"] = "token"  # as Ray itself does for the cluster of this machine, but for no other
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def _has_token() -> bool:
    """Whether Ray would find a token; it is not looked at."""
    given = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return given or Path("~/.ray/auth_token").expanduser().is_file()


def _said(error: BaseException) -> str:
    """A message on one line; of a traceback that Ray has put into it, what the traceback ends with."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if "Traceback" in str(error) else " ".join(lines)
