"""Real storage servers on loopback: SeaweedFS for S3, asyncssh for SFTP; both come from packages."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WAIT_S = 60
BUCKET, KEY, SECRET = "pipes", "some-access-key", "a-secret-that-is-never-printed"
BIN = Path(sys.executable).parent


def free_ports(number: int) -> list[int]:
    """Returns free ports below 50,000, as SeaweedFS also listens on each port + 10,000."""
    found: list[int] = []
    while len(found) < number:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            port = listening.getsockname()[1]
        if port < 50_000:
            found.append(port)
    return found


@contextmanager
def running(command: list[object], port: int, log: Path) -> Iterator[None]:
    """Runs a server for the duration of the block, which starts once `port` accepts connections."""
    with log.open("w") as output:
        process = subprocess.Popen([str(part) for part in command], stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + WAIT_S
        while not _answers(port):
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def s3(folder: Path) -> Iterator[dict[str, str]]:
    """Yields the environment variables for a new S3 server with an empty bucket."""
    credentials = [{"accessKey": KEY, "secretKey": SECRET}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    (folder / "s3.json").write_text(
        json.dumps({"identities": [{"name": "tests", "credentials": credentials, "actions": actions}]})
    )
    names = ["s3.port", "master.port", "volume.port", "filer.port"]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    command = [BIN / "weed", "server", f"-dir={folder}", "-s3", f"-s3.config={folder / 's3.json'}"]
    command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=100", "-master.volumeSizeLimitMB=64"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    with running(command, ports["s3.port"], folder / "weed.log"):
        environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3.port']}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        _make_bucket(environment)
        yield environment


def _make_bucket(environment: dict[str, str]) -> None:
    from botocore.exceptions import ClientError, EndpointConnectionError
    from botocore.session import Session

    client = Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
    )
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
            return
        except (ClientError, EndpointConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


@contextmanager
def sftp(folder: Path, home: Path) -> Iterator[str]:
    """Yields the URI of an SFTP server that accepts the key in `home` and serves `folder/files`."""
    import paramiko

    (folder / "files").mkdir()
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    keys = {}
    for name, location in (("host", folder / "host_key"), ("user", home / ".ssh" / "id_rsa")):
        keys[name] = paramiko.RSAKey.generate(2048)
        keys[name].write_private_key_file(str(location))
    (folder / "authorized").write_text(f"ssh-rsa {keys['user'].get_base64()}\n")
    (port,) = free_ports(1)
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} ssh-rsa {keys['host'].get_base64()}\n")
    command = [sys.executable, "-m", "tests.serving.sftp_server", folder, port]
    with running(command, port, folder / "sftp.log"):
        yield f"sftp://tests@127.0.0.1:{port}"
