"""A real server of S3's protocol: OpenStack Swift with one copy of everything, installed apart in ``.venv-s3``."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gristmill.stack.ports import any_free
from tests.support.freeze import freeze
from tests.support.system import ROOT, eventually

BIN = ROOT / ".venv-s3" / "bin"
KINDS = ("account", "container", "object")
ACCESS_KEY, SECRET_KEY, BUCKET = "test:tester", "testing", "files"

_SERVER = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
disable_fallocate = true
recon_cache_path = {folder}
[pipeline:main]
pipeline = {pipeline}
"""
_STORE = """
[app:{kind}-server]
use = egg:swift#{kind}
"""
_PROXY = """
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
allow_no_owner = true
min_segment_size = 1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
"""


class Swift:
    """The four processes of a server, and its address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ports = {kind: any_free() for kind in (*KINDS, "proxy")}
        self.url = f"http://127.0.0.1:{self._ports['proxy']}"
        self._configure()

    def start(self) -> None:
        """Start it, with what it has stored before."""
        for kind in self._ports:
            with (self._folder / f"{kind}.log").open("ab") as log:
                command = [BIN / f"swift-{kind}-server", self._folder / f"{kind}.conf", "-v"]
                environment = {**os.environ, "EVENTLET_NO_GREENDNS": "yes"}
                self._processes.append(
                    subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                )
        eventually(self._answers, "the server of S3 answers", 60)

    def kill(self) -> None:
        """End it at once; what it has stored stays."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes connections and answers nothing."""
        freeze(*(process.pid for process in self._processes))
        try:
            yield
        finally:
            for process in self._processes:
                process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(self.url, timeout=5).status_code < 500
        return False

    def _configure(self) -> None:
        folder = self._folder
        (folder / "devices" / "one").mkdir(parents=True)
        hashes = "swift_hash_path_prefix = a\nswift_hash_path_suffix = b"
        (folder / "swift.conf").write_text(f"[swift-hash]\n{hashes}\n[storage-policy:0]\nname = one\ndefault = yes\n")
        common = {"user": "root" if os.geteuid() == 0 else os.environ.get("USER", ""), "folder": folder}
        for kind in KINDS:
            port = self._ports[kind]
            text = (_SERVER + _STORE).format(kind=kind, port=port, pipeline=f"{kind}-server", **common)
            (folder / f"{kind}.conf").write_text(text)
            ring = str(folder / f"{kind}.builder")
            for step in (["create", "1", "1", "0"], ["add", f"r1z1-127.0.0.1:{port}/one", "1"], ["rebalance"]):
                subprocess.run([BIN / "swift-ring-builder", ring, *step], check=True, stdout=subprocess.DEVNULL)
        pipeline = "cache listing_formats s3api tempauth bulk slo proxy-server"
        text = (_SERVER + _PROXY).format(port=self._ports["proxy"], pipeline=pipeline, **common)
        (folder / "proxy.conf").write_text(text)


@contextlib.contextmanager
def running_swift(folder: Path) -> Iterator[Swift]:
    """A server that runs, with a bucket. Skips the test where it is not installed."""
    if not (BIN / "swift-proxy-server").exists():
        pytest.skip("the server of S3 is not installed: make .venv-s3/installed")
    server = Swift(folder)
    try:
        server.start()
        make_bucket(server)
        yield server
    finally:
        server.kill()


def make_bucket(server: Swift) -> None:
    import botocore.session  # noqa: PLC0415 - an extra

    client = botocore.session.get_session().create_client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )
    client.create_bucket(Bucket=BUCKET)


def settings_of(server: Swift, prefix: str) -> dict[str, object]:
    """The settings of an installation whose files are below ``prefix``."""
    return {
        "storage_url": f"s3://{BUCKET}/{prefix}",
        "storage_endpoint": server.url,
        "storage_access_key": ACCESS_KEY,
        "storage_secret_key": SECRET_KEY,
    }
