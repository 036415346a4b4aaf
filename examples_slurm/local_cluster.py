"""A Slurm cluster of one's own: real daemons on this machine, without root and without containers.

    python examples_slurm/local_cluster.py up          start it, wait until its nodes are idle
    eval "$(python examples_slurm/local_cluster.py env)"   let sbatch, squeue and sacct find it
    python examples_slurm/local_cluster.py status      daemons, nodes, jobs
    python examples_slurm/local_cluster.py down        stop what `up` started, and nothing else

Runs munged, MariaDB, slurmdbd, slurmctld and one slurmd for each node as the calling user, in a
folder of that user, bound to 127.0.0.1 alone; with `--object-store` also OpenStack Swift, which
speaks S3. Needs Linux and the packages of `make cluster`, the store `pip install -e ".[s3]"`.
About 10 seconds to start, 400 MB of memory, 200 MB of disk.
"""

from __future__ import annotations

import getpass
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from datatrove_kit import KitError
from datatrove_kit.cluster.daemons import Daemons, free_ports, listens
from datatrove_kit.cluster.daemons import program as find_program
from datatrove_kit.cluster.object_store import ObjectStore

PACKAGES = "slurm-wlm slurmdbd munge mariadb-server"
PROGRAMS = ("munged", "mungekey", "mariadbd", "mariadb-install-db", "mariadb", "slurmdbd")
PROGRAMS += ("slurmctld", "slurmd", "sbatch", "sinfo", "sacctmgr")
#: Not in the home folder: munge refuses a socket below a folder that others cannot enter.
ROOT = Path(os.environ.get("LOCAL_CLUSTER_DIR", f"/tmp/datatrove-learn-{os.getuid()}/cluster"))

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
daemons = Daemons(ROOT)
store = ObjectStore()


def program(name: str) -> str:
    return find_program(name, f"run `make cluster`, or apt install {PACKAGES}")


def environment() -> dict[str, str]:
    """What Slurm's commands need in order to find this cluster."""
    return {"SLURM_CONF": str(ROOT / "slurm.conf")}


def slurm(*command: str, timeout: int = 20) -> str:
    """Output of a Slurm command on this cluster."""
    done = subprocess.run(
        [program(command[0]), *command[1:]],
        env={**os.environ, **environment()},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if done.returncode:
        raise KitError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def start(name: str, command: str, *arguments: str, **env: str) -> None:
    daemons.start(name, program(command), *arguments, env={**environment(), **env})


def succeeds(*command: str) -> bool:
    try:
        slurm(*command)
    except (KitError, subprocess.TimeoutExpired):
        return False
    return True


def write_configuration(nodes: int, cpus: int, memory: int, ports: list[int]) -> None:
    user = getpass.getuser()
    controller, accounting, *node_ports = ports
    node_lines = "\n".join(
        f"NodeName=node{i} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={cpus} "
        f"RealMemory={memory} State=UNKNOWN"
        for i, port in enumerate(node_ports[:nodes], 1)
    )
    (ROOT / "slurm.conf").write_text(
        f"""\
ClusterName=learn
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={ROOT}/munge.socket
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={ROOT}/state
SlurmdSpoolDir={ROOT}/spool/%n
SlurmctldPidFile={ROOT}/slurmctld.pid
SlurmdPidFile={ROOT}/spool/%n.pid
SlurmctldLogFile={ROOT}/log/slurmctld.log
SlurmdLogFile={ROOT}/log/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
# Without cgroups a job over its memory is found by sampling, and killed.
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={accounting}
AccountingStoragePass={ROOT}/munge.socket
AccountingStorageEnforce=qos
SlurmdTimeout=15
ReturnToService=2
KillWait=5
MaxArraySize=1001
SchedulerParameters=batch_sched_delay=0,sched_interval=5,bf_interval=5
{node_lines}
PartitionName=learn Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
    )
    database = ROOT / "slurmdbd.conf"
    database.write_text(
        f"""\
AuthType=auth/munge
AuthInfo=socket={ROOT}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={accounting}
SlurmUser={user}
PidFile={ROOT}/slurmdbd.pid
LogFile={ROOT}/log/slurmdbd.log
CommunicationParameters=NoInAddrAny
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={user}
StorageLoc=slurm_acct
"""
    )
    database.chmod(0o600)


def start_munge() -> None:
    key = ROOT / "munge.key"
    if not key.exists():
        subprocess.run([program("mungekey"), "--create", f"--keyfile={key}"], check=True)
    where = {
        "key-file": key,
        "socket": ROOT / "munge.socket",
        "pid-file": ROOT / "munge.pid",
        "log-file": ROOT / "log" / "munged.log",
        "seed-file": ROOT / "munge.seed",
    }
    start("munged", "munged", "--foreground", *(f"--{k}={v}" for k, v in where.items()))
    daemons.wait_for("munged", lambda: (ROOT / "munge.socket").exists())


def start_database() -> None:
    data, where = ROOT / "mariadb", ROOT / "mariadb.socket"
    user = getpass.getuser()
    if not data.exists():
        fresh = ROOT / "mariadb.new"
        shutil.rmtree(fresh, ignore_errors=True)
        done = subprocess.run(
            [
                program("mariadb-install-db"),
                "--no-defaults",
                f"--datadir={fresh}",
                f"--user={user}",
                f"--auth-root-socket-user={user}",
                "--auth-root-authentication-method=socket",
                "--skip-test-db",
                "--innodb-log-file-size=16M",
            ],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise KitError(f"the accounting database cannot be made:\n{done.stderr[-800:]}")
        fresh.rename(data)
    where.unlink(missing_ok=True)
    start(
        "mariadbd",
        "mariadbd",
        "--no-defaults",
        f"--datadir={data}",
        f"--user={user}",
        f"--socket={where}",
        f"--pid-file={ROOT / 'mariadb.pid'}",
        "--skip-networking",
        "--innodb-log-file-size=16M",
        "--innodb-buffer-pool-size=64M",
        "--innodb-lock-wait-timeout=900",
    )
    daemons.wait_for("mariadbd", lambda: where.exists() and sql("SELECT 1"))
    sql("CREATE DATABASE IF NOT EXISTS slurm_acct")


def sql(statement: str) -> bool:
    done = subprocess.run(
        [
            program("mariadb"),
            "--no-defaults",
            f"--socket={ROOT / 'mariadb.socket'}",
            f"--user={getpass.getuser()}",
            "-e",
            statement,
        ],
        capture_output=True,
    )
    return done.returncode == 0


def node_is_idle() -> bool:
    states = slurm("sinfo", "--noheader", "--Node", "--format=%T").split()
    return bool(states) and all(state in ("idle", "mixed", "allocated") for state in states)


@app.command()
def up(
    nodes: Annotated[int, typer.Option(min=1, max=64, help="Compute nodes.")] = 3,
    cpus_per_node: Annotated[int, typer.Option(min=1, help="CPUs that each node has.")] = 2,
    mem_per_node: Annotated[int, typer.Option(min=256, help="Memory of each node in MB.")] = 6000,
    object_store: Annotated[
        bool, typer.Option("--object-store", help="Start an S3 object store as well.")
    ] = False,
) -> None:
    """Start the cluster, or do nothing if it runs."""
    if sys.platform != "linux":
        raise KitError("Slurm runs on Linux only; the local lessons run here.")
    start_cluster(nodes, cpus_per_node, mem_per_node)
    print(f"the cluster runs: {nodes} nodes, folder {ROOT}")
    if object_store:
        store.start()
        print(f"the object store runs: folder {store.root}")
    print('now: eval "$(python examples_slurm/local_cluster.py env)"')


def start_cluster(nodes: int, cpus_per_node: int, mem_per_node: int) -> None:
    shape = {"nodes": nodes, "cpus_per_node": cpus_per_node, "mem_per_node": mem_per_node}
    for name in PROGRAMS:
        program(name)
    running = daemons.alive()
    if running and set(running) == set(daemons.recorded()) and (ROOT / "shape.json").exists():
        if json.loads((ROOT / "shape.json").read_text()) == shape and succeeds("scontrol", "ping"):
            return
        raise KitError("a cluster of another shape runs: take it `down` first.")
    if running:
        print(f"a half-started cluster is stopped first: {', '.join(running)}", file=sys.stderr)
        daemons.stop_all()
    os.umask(0o022)  # others must be able to enter the folder of munge's socket
    for folder in (ROOT / "log", ROOT / "state", ROOT / "spool"):
        folder.mkdir(parents=True, exist_ok=True)
    if ROOT.stat().st_uid != os.getuid():
        raise KitError(f"{ROOT} belongs to another user: set LOCAL_CLUSTER_DIR.")
    (ROOT / "munge.socket").unlink(missing_ok=True)
    ports = free_ports(2 + nodes)
    write_configuration(nodes, cpus_per_node, mem_per_node, ports)
    (ROOT / "shape.json").write_text(json.dumps(shape))
    try:
        start_munge()
        start_database()
        start("slurmdbd", "slurmdbd", "-D", MYSQL_UNIX_PORT=str(ROOT / "mariadb.socket"))
        daemons.wait_for("slurmdbd", lambda: listens(ports[1]))
        daemons.wait_for("slurmdbd", lambda: succeeds("sacctmgr", "list", "cluster"))
        register_cluster()
        start("slurmctld", "slurmctld", "-D", "-f", str(ROOT / "slurm.conf"))
        daemons.wait_for("slurmctld", lambda: succeeds("scontrol", "ping"))
        for number in range(1, nodes + 1):
            (ROOT / "spool" / f"node{number}").mkdir(exist_ok=True)
            start(f"node{number}", "slurmd", "-D", "-N", f"node{number}")
        daemons.wait_for(f"node{nodes}", node_is_idle)
    except BaseException:
        daemons.stop_all()
        raise


def register_cluster() -> None:
    """Name the cluster, a quality of service and the user's account in the accounting."""
    user = getpass.getuser()
    for words in (
        "add cluster learn",
        "add account learn cluster=learn",
        f"add user {user} account=learn cluster=learn qos=normal defaultqos=normal",
    ):
        subprocess.run(
            [program("sacctmgr"), "--immediate", *words.split()],
            env={**os.environ, **environment()},
            capture_output=True,
            timeout=20,
        )


@app.command()
def down() -> None:
    """Stop the cluster and the object store; jobs that still run are cancelled."""
    if store.daemons.alive():
        store.stop()
        print("the object store is stopped")
    running = daemons.alive()
    if not running:
        print("no cluster runs")
        return
    if "slurmctld" in running and succeeds("scontrol", "ping"):
        slurm("scancel", f"--user={getpass.getuser()}")
        deadline = time.monotonic() + 20
        while slurm("squeue", "--noheader").strip() and time.monotonic() < deadline:
            time.sleep(0.2)
    daemons.stop_all()
    print("the cluster is stopped")


@app.command()
def status() -> None:
    """Show daemons, nodes and jobs; exit code 1 when something is missing."""
    running = {**store.daemons.alive(), **daemons.alive()}
    known = {**store.daemons.recorded(), **daemons.recorded()}
    for name, daemon in known.items():
        print(f"{name:10} {'runs' if name in running else 'is gone'}, pid {daemon['pid']}")
    if not daemons.alive():
        raise KitError("no cluster runs: python examples_slurm/local_cluster.py up")
    if not (ROOT / "slurm.conf").exists():
        raise KitError(f"the files in {ROOT} are gone: take the cluster `down` and `up` again.")
    print(slurm("sinfo", "--Node", "--format=%N %T %c CPUs %m MB"))
    print(slurm("squeue", "--format=%i %j %T %R"))
    if len(running) < len(known):
        raise KitError("the cluster is not whole: take it `down` and `up` again.")


@app.command()
def env() -> None:
    """Print the export lines for a shell."""
    if not daemons.alive():
        raise KitError("no cluster runs: python examples_slurm/local_cluster.py up")
    variables = {**environment(), **(store.environment() if store.running() else {})}
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


if __name__ == "__main__":
    try:
        app()
    except KitError as error:
        sys.exit(f"error: {error}")
