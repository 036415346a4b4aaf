"""A real S3 object store on this machine: OpenStack Swift with its s3api, on loopback.

Four servers (proxy, account, container, object) run as the calling user from one folder; data and
keys stay there. Needs Linux, the ``s3`` extra and a disk with user extended attributes.
"""

from __future__ import annotations

import getpass
import os
import secrets
import subprocess
from pathlib import Path

from datatrove_kit.cluster.daemons import Daemons, free_ports, listens
from datatrove_kit.cluster.daemons import program as find_program
from datatrove_kit.errors import KitError

DEFAULT = Path.home() / ".cache" / "datatrove-learn" / "object-store"
SERVERS = ("account", "container", "object", "proxy")
REGION = "us-east-1"


def program(name: str) -> str:
    return find_program(name, 'run pip install -e ".[s3]"')


def _check_attributes(folder: Path) -> None:
    probe = folder / ".xattr"
    probe.touch()
    try:
        os.setxattr(probe, "user.probe", b"1")
    except (OSError, AttributeError) as error:
        raise KitError(
            f"{folder} is on a disk without user extended attributes, which Swift needs: "
            "set OBJECT_STORE_DIR to a folder on another disk."
        ) from error
    finally:
        probe.unlink()


class ObjectStore:
    """The store of one folder. ``environment()`` is what clients need to find it."""

    def __init__(self, root: Path | str | None = None):
        self.root = Path(root or os.environ.get("OBJECT_STORE_DIR", DEFAULT))
        self.daemons = Daemons(self.root)

    def _ports(self) -> dict[str, int]:
        lines = (self.root / "ports").read_text().split()
        return dict(zip(SERVERS, map(int, lines), strict=True))

    def environment(self) -> dict[str, str]:
        """AWS_ variables with endpoint, keys and region, as s3fs and the AWS tools read them."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._ports()['proxy']}",
            "AWS_ACCESS_KEY_ID": "learn:reader",
            "AWS_SECRET_ACCESS_KEY": (self.root / "secret").read_text(),
            "AWS_DEFAULT_REGION": REGION,
        }

    def running(self) -> bool:
        return set(self.daemons.alive()) == set(SERVERS) and (self.root / "ports").exists()

    def start(self) -> None:
        """Start the store and wait until it answers; does nothing when it runs.

        Raises KitError when it cannot be started.
        """
        if self.running():
            return
        self.daemons.stop_all()
        (self.root / "devices" / "disk").mkdir(parents=True, exist_ok=True)
        _check_attributes(self.root)
        secret = self.root / "secret"
        if not secret.exists():
            secret.touch(mode=0o600)
            secret.write_text(secrets.token_hex(20))
            (self.root / "suffix").write_text(secrets.token_hex(20))
        # The rings hold the ports, so these are chosen once; a port that was taken since then
        # means new rings, which change nothing about the data.
        if not (self.root / "ports").exists() or any(map(listens, self._ports().values())):
            ports = free_ports(len(SERVERS))
            (self.root / "ports").write_text("\n".join(map(str, ports)) + "\n")
        self._configure()
        try:
            for name in SERVERS:
                configuration = str(self.root / f"{name}-server.conf")
                self.daemons.start(name, program(f"swift-{name}-server"), configuration, "-v")
                port = self._ports()[name]
                self.daemons.wait_for(name, lambda port=port: listens(port))
        except BaseException:
            self.daemons.stop_all()
            raise

    def stop(self) -> None:
        self.daemons.stop_all()

    def _configure(self) -> None:
        ports = self._ports()
        common = f"""\
[DEFAULT]
user = {getpass.getuser()}
swift_dir = {self.root}
devices = {self.root}/devices
mount_check = false
bind_ip = 127.0.0.1
workers = 1
"""
        suffix = (self.root / "suffix").read_text()
        (self.root / "swift.conf").write_text(
            "[swift-hash]\n"
            f"swift_hash_path_suffix = {suffix}\nswift_hash_path_prefix = {suffix[::-1]}\n"
            "[storage-policy:0]\nname = one\ndefault = yes\n"
        )
        for name in SERVERS[:3]:
            (self.root / f"{name}-server.conf").write_text(
                f"{common}bind_port = {ports[name]}\n"
                f"[pipeline:main]\npipeline = {name}-server\n"
                f"[app:{name}-server]\nuse = egg:swift#{name}\n"
            )
            self._build_ring(name, ports[name])
        secret = (self.root / "secret").read_text()
        proxy = self.root / "proxy-server.conf"
        proxy.touch(mode=0o600)
        proxy.write_text(
            f"""{common}bind_port = {ports["proxy"]}
[pipeline:main]
pipeline = catch_errors proxy-logging cache listing_formats s3api tempauth copy slo dlo \
proxy-logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:tempauth]
use = egg:swift#tempauth
user_learn_reader = {secret} .admin
[filter:s3api]
use = egg:swift#s3api
location = {REGION}
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
"""
        )

    def _build_ring(self, name: str, port: int) -> None:
        builder = self.root / f"{name}.builder"
        builder.unlink(missing_ok=True)
        for words in (
            "create 4 1 0",  # 16 partitions, one replica
            f"add r1z1-127.0.0.1:{port}/disk 1",
            "rebalance --seed 1",
        ):
            done = subprocess.run(
                [program("swift-ring-builder"), str(builder), *words.split()],
                capture_output=True,
                text=True,
            )
            if done.returncode > 1:  # 1 is a warning
                raise KitError(f"swift-ring-builder failed: {done.stdout}{done.stderr}")
