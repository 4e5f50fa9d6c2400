"""A hospital with one cohort, made once and copied for each test."""

import shutil
from pathlib import Path

import pytest

from silogan.client.node.node import Node
from silogan.common.wire.study import Study
from tests.ledger_faults.hospital import DECLARED_SIZE, DIGITS, SITE, Hospital, policy_text


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """For every test here."""


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node's folder whose cohort has approved the study."""
    node = Node.create(tmp_path_factory.mktemp("prepared") / "node", policy_text())
    node.add_cohort(name="digits", site=SITE, data=DIGITS, declared_size=DECLARED_SIZE)
    hospital = Hospital(node, "digits")
    hospital.approve(hospital.study())
    return node.folder


@pytest.fixture
def hospital(prepared: Path, tmp_path: Path) -> Hospital:
    shutil.copytree(prepared, tmp_path / "node")
    return Hospital(Node(tmp_path / "node"), "digits")


@pytest.fixture
def study(hospital: Hospital) -> Study:
    """The study that the hospital has approved."""
    return hospital.study()


@pytest.fixture
def patients_hospital(tmp_path: Path) -> Hospital:
    """A hospital that protects patients, and has registered nobody yet."""
    policy = policy_text(unit="patient")
    return Hospital(Node.create(tmp_path / "node", policy), "xrays")
