"""What the drills share: their input, a run undisturbed, and a cluster to break and mend."""

from __future__ import annotations

import drills
import pytest
from conftest import cluster_script, exports
from slurm import Cluster, SlurmDrill


@pytest.fixture(scope="session")
def breakable():
    """A running cluster of three nodes, which the drills break and mend."""
    with cluster_script("faults") as call:
        done = call("up")
        assert done.returncode == 0, done.stderr
        yield Cluster(exports(call("env")), call.folder)


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    """The input of the drills."""
    return drills.texts(tmp_path_factory.mktemp("data") / "texts")


@pytest.fixture(scope="session")
def filtered(tmp_path_factory, texts):
    """filtering.py without Slurm and without faults."""
    return drills.undisturbed("filtering.py", tmp_path_factory.mktemp("filtered"), texts)


@pytest.fixture
def drill(breakable, tmp_path, texts):
    with SlurmDrill("filtering.py", tmp_path, breakable, texts) as drill:
        yield drill
