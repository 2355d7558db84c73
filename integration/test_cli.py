"""The command line, the configuration and the beginning and end of a run: the same list for the three programs."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from harness.daemon import SANITIZER_ENV, Daemon, binary, merged
from harness.kafka import KafkaCluster
from harness.ports import free_port
from harness.redis import RedisServer
from harness.wait import wait_until

NOWHERE = "127.0.0.1:1"
SECRETS = ("secret-in-the-file", "secret-in-a-file", "secret-in-the-environment")


@dataclasses.dataclass(frozen=True)
class Program:
    name: str
    prefix: str
    good: dict[str, Any]
    needs: str  # the key that has no default
    number: str
    time: str
    size: str
    password: str  # a secret of our own, or of the library
    library: str  # the map that goes to the library

    def run(self, *args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """To its end; with none of our variables but those given."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("JOURNAL_", "MIRROR_", "APPLIER_"))}
        return subprocess.run(
            [binary(self.name), *args], capture_output=True, text=True, timeout=20,
            env={**clean, **SANITIZER_ENV, **(env or {})},
        )

    def check(self, path: Path, text: str, env: dict[str, str] | None = None) -> str:
        """The message about a wrong configuration, less the program's name."""
        path.write_text(text)
        done = self.run("--config", str(path), "--check", env=env)
        assert (done.returncode, done.stdout) == (2, ""), done
        assert done.stderr.startswith(f"{self.name}: ") and done.stderr.count("\n") == 1, done.stderr
        return done.stderr.removeprefix(f"{self.name}: ").rstrip("\n")


def below(dotted: str, value: object) -> dict[str, Any]:
    """below("a.b", 1) is {"a": {"b": 1}}; a map's own names keep their dots."""
    if ".kafka." in dotted or dotted.startswith("kafka."):
        head, _, name = dotted.partition("kafka.")
        return below(f"{head}kafka", {name: value})
    *sections, last = dotted.split(".")
    result: dict[str, Any] = {last: value}
    for section in reversed(sections):
        result = {section: result}
    return result


JOURNAL = Program(
    "redis-journal", "JOURNAL", {"kafka": {"bootstrap.servers": NOWHERE}}, "kafka.bootstrap.servers",
    "topic.partitions", "source.timeout", "limits.in_flight", "source.password", "kafka",
)
MIRROR = Program(
    "kafka-mirror", "MIRROR",
    {"source": {"kafka": {"bootstrap.servers": NOWHERE}}, "target": {"kafka": {"bootstrap.servers": NOWHERE}}},
    "source.kafka.bootstrap.servers",
    "replication_factor", "refresh_interval", "inflight_bytes", "source.kafka.sasl.password", "source.kafka",
)
APPLIER = Program(
    "redis-applier", "APPLIER", {"kafka": {"bootstrap.servers": NOWHERE}}, "kafka.bootstrap.servers",
    "batch.commands", "ttl_guard", "memory", "target.password", "kafka",
)


@pytest.fixture(params=[JOURNAL, MIRROR, APPLIER], ids=lambda program: program.name)
def program(request: pytest.FixtureRequest) -> Program:
    return request.param


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.yaml"


def text(program: Program, **changes: Any) -> str:
    """The good configuration as a file, with dotted keys set: text(p, **{"log.level": "warn"})."""
    config = program.good
    for key, value in changes.items():
        config = merged(config, below(key, value))
    return yaml.safe_dump(config, sort_keys=False)


def variable(program: Program, key: str) -> str:
    return f"{program.prefix}_{key.upper().replace('.', '_')}"


# --- options ---


def test_help(program: Program) -> None:
    done = program.run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("--config FILE", "--check", "--dump", "--version", program.number, program.prefix, "log.level", "Exit codes"):
        assert word in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 110


def test_version(program: Program) -> None:
    done = program.run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"{program.name} \d+\.\d+\.\d+\S*\n", done.stdout)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--nope"], "unknown option '--nope'"),
        (["-v"], "unknown option '-v'"),
        (["--check", "stray"], "unexpected argument 'stray'"),
        (["--config"], "a file name must follow '--config'"),
        (["--config="], "a file name must follow '--config='"),
        (["--config", "a", "--config", "b"], "only one file is read, not also 'b'"),
    ],
)
def test_wrong_usage(program: Program, args: list[str], message: str) -> None:
    done = program.run(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{program.name}: {message}; try '{program.name} --help'\n"


@pytest.mark.parametrize(
    ("program_", "verb"), [(JOURNAL, "cat"), (APPLIER, "clear-halt")], ids=["redis-journal", "redis-applier"]
)
def test_verbs(program_: Program, verb: str) -> None:
    assert verb in program_.run("--help").stdout
    done = program_.run(verb, "--help")
    assert (done.returncode, done.stderr) == (0, "") and f"{program_.name} {verb}" in done.stdout
    done = program_.run(verb, "--nope")
    assert (done.returncode, done.stdout) == (2, "") and "--nope" in done.stderr


# --- configuration ---


def test_check_of_a_good_file(program: Program, path: Path) -> None:
    path.write_text(text(program))
    done = program.run("--config", str(path), "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"configuration {path} is ok\n", "")


def test_what_is_missing(program: Program, path: Path) -> None:
    """Said with both ways to set it, and no file is no excuse."""
    name = variable(program, program.needs)
    wanted = f"key '{program.needs}': required, but not set; set it in the file or as {name}"
    assert program.check(path, "log: {level: info}") == f"{path}: {wanted}"
    for args in ([], ["--check"]):
        done = program.run(*args)
        assert (done.returncode, done.stderr) == (2, f"{program.name}: configuration: {wanted}\n")


BAD: dict[str, tuple[Callable[[Program], str], str]] = {
    # What the file has, and the message behind "FILE"; P.x stands for the program's own key.
    "unknown key": (
        lambda p: text(p, **{"log.levle": "info"}), r":\d+: key 'log\.levle': unknown key; did you mean 'log\.level'\?"),
    "far from any key": (lambda p: text(p, zzz=1), r":\d+: key 'zzz': unknown key; --help lists all keys"),
    "a section as a key": (
        lambda p: text(p, log=1), r":\d+: key 'log': is a section and takes no value; its keys are such as 'log\.\w+'"),
    "a choice": (
        lambda p: text(p, **{"log.level": "loud"}),
        r":\d+: key 'log\.level': 'loud' is not known here; allowed: one of debug, info, warn, error"),
    "not a number": (lambda p: text(p, **{p.number: "many"}), r":\d+: key 'P.number': 'many' is not a whole number; allowed: "),
    "a list for a number": (lambda p: text(p, **{p.number: [1, 2]}), r":\d+: key 'P.number': .*list"),
    "out of range": (
        lambda p: text(p, **{p.number: -7}), r":\d+: key 'P.number': '-7' is out of range; allowed: -?\d+ to \d+"),
    "a time without a unit": (
        lambda p: text(p, **{p.time: 5}),
        r":\d+: key 'P.time': '5' is not a time with its unit \(ms, s, m, h, d\); allowed: \d+\w+ to \d+\w+"),
    "a size with a wrong unit": (
        lambda p: text(p, **{p.size: "5MB"}), r":\d+: key 'P.size': '5MB' is not a size \(bytes, or KiB, MiB, GiB, TiB\)"),
    "a size out of range": (lambda p: text(p, **{p.size: 1}), r":\d+: key 'P.size': '1' is out of range; allowed: \d+\w+ to \d+\w+"),
    "an address": (lambda p: text(p, **{"http.listen": "nowhere"}), r":\d+: key 'http\.listen': 'nowhere' is no address to listen on"),
    "no value": (lambda p: text(p) + "log:\n  level:\n", r":\d+: key 'log\.level': has no value"),
    "twice": (
        lambda p: text(p) + "log:\n  level: info\n  level: info\n",
        r":\d+: key 'log\.level': set a second time; the first is on line \d+"),
    "bad YAML": (lambda p: text(p) + "log: [1\nhttp: 2\n", r":\d+: not valid YAML: did not find expected ',' or '\]'"),
    "bad indentation": (lambda p: text(p) + "log:\n  level: info\n format: json\n", r":\d+: not valid YAML: "),
    "a tab": (lambda p: "log:\n\tlevel: info\n", r":2: not valid YAML: the line begins with a tab; indent by spaces"),
    "not lines of keys": (lambda p: "- a\n- b\n", r":1: the file must consist of 'key: value' lines"),
    "two documents": (lambda p: text(p) + "---\n" + text(p), r":\d+: a second document \('---'\) begins here"),
    "a secret's file": (
        lambda p: text(p, **{p.password: "file:/nonexistent/password"}),
        r":\d+: key 'P.password': cannot read '/nonexistent/password': No such file or directory"),
    "a library's property": (
        lambda p: text(p, **{f"{p.library}.socket.timeout.ms": "soon"}), r": .*line \d+: kafka property 'socket\.timeout\.ms': "),
    "an unknown property": (
        lambda p: text(p, **{f"{p.library}.bootstrap.srvers": "x"}),
        r": .*line \d+: kafka property 'bootstrap\.srvers': No such configuration property"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_configuration(program: Program, path: Path, case: str) -> None:
    make, pattern = BAD[case]
    for name in ("number", "time", "size", "password"):
        pattern = pattern.replace(f"P.{name}", re.escape(getattr(program, name)))
    message = program.check(path, make(program))
    assert re.match(re.escape(str(path)) + pattern, message), message
    line = re.match(r":(\d+): key '([^']+)'", message.removeprefix(str(path)))
    if line is not None:
        assert line[2].rpartition(".")[2] in path.read_text().splitlines()[int(line[1]) - 1]


def test_files_that_cannot_be_read(program: Program, tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    for file, why in ((missing, "No such file or directory"), (tmp_path, "not a file")):
        done = program.run("--config", str(file), "--check")
        assert done.returncode == 2
        assert done.stderr == f"{program.name}: {file}: cannot read the configuration: {why}\n"


def test_the_environment_goes_before_the_file(program: Program, path: Path) -> None:
    path.write_text(text(program, **{"log.level": "warn", program.number: 3}))
    env = {variable(program, program.number): "7", variable(program, f"{program.library}.client.id"): "from-env"}
    dumped = yaml.safe_load(program.run("--config", str(path), "--dump", env=env).stdout)
    assert merged(dumped, below(program.number, 7)) == dumped
    assert merged(dumped, below(f"{program.library}.client.id", "from-env")) == dumped
    assert dumped["log"]["level"] == "warn"
    message = program.check(path, text(program), env={variable(program, program.number): "many"})
    assert message.startswith(f"environment variable {variable(program, program.number)}: key '{program.number}': 'many'")
    name = variable(program, program.number)
    misspelt = name[:-1]
    assert program.check(path, text(program), env={misspelt: "7"}) == (
        f"environment variable {misspelt}: no key has this name; did you mean {name} (key '{program.number}')?"
    )


def with_secrets(program: Program, directory: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """A configuration with a secret written in it, one in a file, and the environment with one."""
    directory.mkdir(exist_ok=True)
    (directory / "password").write_text(SECRETS[1] + "\n")
    library = {"ssl.key.password": SECRETS[0], "sasl.password": f"file:{directory / 'password'}",
               "sasl.username": "user", "sasl.mechanism": "PLAIN", "security.protocol": "sasl_plaintext"}
    config = merged(program.good, below(program.library, library))
    return config, {variable(program, program.password): SECRETS[2]}


def test_dump_round_trip_without_secrets(program: Program, path: Path, tmp_path: Path) -> None:
    config, env = with_secrets(program, tmp_path)
    path.write_text(yaml.safe_dump(merged(config, {"log": {"format": "json"}})))
    first = program.run("--config", str(path), "--dump", env=env)
    assert (first.returncode, first.stderr) == (0, "")
    assert not any(secret in first.stdout for secret in SECRETS)
    dumped = yaml.safe_load(first.stdout)
    assert merged(dumped, below(program.password, "***")) == dumped
    assert merged(dumped, below(f"{program.library}.ssl.key.password", "***")) == dumped
    assert merged(dumped, {"log": {"format": "json"}}) == dumped
    path.write_text(first.stdout)
    again = program.run("--config", str(path), "--dump")
    assert (again.returncode, again.stdout) == (0, first.stdout)


def test_dump_to_a_full_disk_fails(program: Program, path: Path) -> None:
    path.write_text(text(program))
    with open("/dev/full", "w") as full:
        done = subprocess.run([binary(program.name), "--config", str(path), "--dump"], stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=20, env={**os.environ, **SANITIZER_ENV})
    assert done.returncode == 1 and "No space left on device" in done.stderr


# --- the beginning of a run, and its end ---


class Plain(Daemon):
    """A program with a configuration of the test's own."""

    def __init__(self, directory: Path, program: Program, config: dict[str, Any], env: dict[str, str] | None = None) -> None:
        self.program = program.name
        super().__init__(directory, program.name, config, env=env)


def page(daemon: Daemon, path: str) -> tuple[int, str]:
    """(0, "") while it does not answer yet."""
    assert daemon.alive, daemon.process.tail()
    try:
        response = daemon.get(path)
    except requests.RequestException:
        return 0, ""
    return response.status_code, response.text


def wait_not_ready(daemon: Daemon, why: str, timeout: float = 15) -> None:
    """Until /readyz says so, with 503; it is healthy all the same."""
    wait_until(
        lambda: page(daemon, "/readyz")[0] == 503 and re.search(why, page(daemon, "/readyz")[1]),
        timeout, lambda: f"503 with {why!r}: {page(daemon, '/readyz')}\n{daemon.process.tail(8)}",
    )
    assert page(daemon, "/healthz") == (200, "ok\n")


@pytest.fixture
def all_away(workdir: Path) -> Iterator[list[tuple[Program, Daemon]]]:
    """All three at once, with brokers and a Redis that are not there, and secrets everywhere."""
    started = []
    for program in (JOURNAL, MIRROR, APPLIER):
        config, env = with_secrets(program, workdir / program.name)
        if program is not MIRROR:
            config = merged(config, below("source.redis" if program is JOURNAL else "target.redis", NOWHERE))
        daemon = Plain(workdir / program.name, program, config, env)
        daemon.start(ready=False)
        started.append((program, daemon))
    yield started
    for _, daemon in started:
        daemon.process.finish()


def test_nothing_is_there_at_the_start(all_away: list[tuple[Program, Daemon]]) -> None:
    """They keep trying, say what is missing, show no secret, and end at SIGTERM or SIGINT with 0."""
    why = {
        "redis-journal": r"state opening\): describe topic 'redis-writes': ",
        "kafka-mirror": r"topic 'redis-writes': source: describe topic 'redis-writes': ",
        "redis-applier": r"not connected to the target: connect to 127\.0\.0\.1:1: Connection refused",
    }
    for program, daemon in all_away:
        wait_not_ready(daemon, why[program.name])
        daemon.wait_log(r"level=warn .*127\.0\.0\.1:1.*Connection refused")
        daemon.wait_log(r"level=warn (?=.*retry).*describe topic 'redis-writes'")
    for number, (_, daemon) in enumerate(all_away):
        daemon.process.signal(signal.SIGINT if number % 2 else signal.SIGTERM)
    for program, daemon in all_away:
        assert daemon.process.wait(15) == 0
        log = daemon.process.log_text()
        assert re.search(r"msg=stopping signal=SIG(INT|TERM)", log) and "msg=stopped exit_code=0" in log
        assert not any(secret in log for secret in SECRETS), program.name


def test_a_second_signal_ends_at_once(all_away: list[tuple[Program, Daemon]]) -> None:
    """Also while a call to Kafka hangs; that is no orderly end. Very late the signal itself ends it."""
    for program, daemon in all_away:
        wait_until(lambda d=daemon: page(d, "/healthz")[0] == 200, 15, program.name)
        daemon.process.signal(signal.SIGTERM)
        wait_until(lambda d=daemon: not d.alive or d.log_contains("msg=stopping signal=SIGTERM"), 10, program.name)
        daemon.process.signal(signal.SIGTERM)
        code = daemon.process.wait(2)
        said = daemon.log_contains("second signal, ending at once")
        assert (code, said) in ((1, True), (0, False), (-signal.SIGTERM, False)), (program.name, code, said)


@pytest.mark.allow_errors("WRONGPASS", "NOAUTH")
@pytest.mark.parametrize("program", [JOURNAL, APPLIER], indirect=True, ids=lambda program: program.name)
def test_a_refused_password(
    program: Program, workdir: Path, kafka: KafkaCluster, topic: str, name: str
) -> None:
    """It keeps trying and says so without the password; when the password is right, it begins by itself."""
    redis = RedisServer(workdir, "redis", config={"requirepass": "right-password"})
    redis.start(wait=False)
    client = redis.client(password="right-password")
    wait_until(lambda: redis.process.alive and _answers(client), 15, "redis")
    kafka.create_topic(topic, 2)
    login = {"redis": redis.address, "password": SECRETS[0]}
    config = {"kafka": {"bootstrap.servers": kafka.bootstrap}, "topic": {"name": topic}, "source": {"name": name}}
    if program is JOURNAL:
        config["source"] = {"name": name, **login}
    else:
        config["target"] = login
    daemon = Plain(workdir, program, config)
    daemon.start(ready=False)
    daemon.wait_log("level=error (?=.*retry).*WRONGPASS", 15)
    wait_not_ready(daemon, "WRONGPASS")
    client.config_set("requirepass", SECRETS[0])
    wait_until(lambda: page(daemon, "/readyz")[0] == 200 or "snapshot" in page(daemon, "/readyz")[1], 20,
               lambda: f"begun: {page(daemon, '/readyz')}")
    assert SECRETS[0] not in daemon.process.log_text()
    assert daemon.stop() == 0


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except Exception:  # not up yet
        return False


def test_the_http_port_is_taken(program: Program, workdir: Path, path: Path) -> None:
    """An error of the start: it ends, and names the key and the address."""
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        path.write_text(text(program, **{"http.listen": address}))
        done = program.run("--config", str(path))
    assert done.returncode in (1, 2)
    assert re.search(rf"level=error .*http\.listen.*{re.escape(address)}.*Address already in use|"
                     rf"level=error .*http\.listen.*address already in use", done.stderr), done.stderr
