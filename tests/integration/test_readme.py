"""A newcomer's way through the README: its commands and its Python, on a real cluster."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from pipelines.media.sample_video import sample_video
from tests.integration.conftest import Running
from tests.support.documents import Block, blocks, commands

# What lies outside a cluster that is shared: the browser, other clusters, the end. Other tests tell those stories.
NOT_HERE = {"open", "down", "demo", "sweep", "simulate"}


class Newcomer:
    """Runs what stands in the README, in a directory with a clip.mp4."""

    def __init__(self, cluster: Running, directory: Path) -> None:
        self._cluster, self.directory = cluster, directory
        config = directory / "aima.yaml"
        config.write_text(yaml.safe_dump({"state_dir": str(cluster.state.path), "http": {"port": 0}}))
        (directory / "clip.mp4").symlink_to(sample_video())
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._environment = os.environ | {"AIMA_CONFIG": str(config), "PATH": path}

    def run(self, words: Sequence[str]) -> str:
        """What it prints; it must end well."""
        done = subprocess.run(
            words, cwd=self.directory, env=self._environment, capture_output=True, text=True, check=False, timeout=200
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def here(self, text: str) -> str:
        """The README's addresses and places as they are here."""
        text = text.replace("~/.aima", str(self._cluster.state.path)).replace("/videos/clip.mp4", str(sample_video()))
        return text.replace("http://127.0.0.1:8000", self._cluster.card.api_url)


@pytest.fixture
def newcomer(at_zero: Running, tmp_path: Path) -> Newcomer:
    return Newcomer(at_zero, tmp_path)


def block(language: str, words: str) -> Block:
    """The README's only block with these words in it."""
    (found,) = [b for b in blocks(language) if b.document == "README.md" and words in b.text]
    return found


def test_the_readme_alone_leads_to_results(at_zero: Running, newcomer: Newcomer) -> None:
    said: dict[str, str] = {}
    for words in commands(block("sh", "aima up")):
        name = words[1]
        if name in NOT_HERE:
            continue
        if name == "status":
            words = ["aima", "status", "--events"]  # --watch would go on
        elif name == "results":
            words = ["aima", "results", re.findall(r"an_[0-9a-f]{16}", said["analyze"])[0]]
        said[name] = newcomer.run(words)
    assert set(said) == {"up", "doctor", "analyze", "status", "results", "search", "costs"}
    assert at_zero.card.api_url in said["up"]
    assert "ready" in said["doctor"]
    assert "succeeded" in said["analyze"]
    assert "streetcar" in said["results"] + said["search"]
    curl = newcomer.here(block("sh", "curl -H").text).replace("curl ", "curl -sS ", 1)
    answer = json.loads(newcomer.run(["bash", "-c", curl]))
    assert list(at_zero.client.follow(answer["id"]))[-1]["state"] == "succeeded"


def test_the_readmes_python_runs(newcomer: Newcomer) -> None:
    before = "import numpy as np\nframes = np.zeros((30, 72, 128, 3), np.uint8)\n"
    after = "\nassert table.num_rows\nassert len(answers) == len(frames)\nprint(cuts.num_rows, 'cuts')\n"
    code = newcomer.here(block("python", "local_client").text)
    assert re.search(r"^\d+ cuts$", newcomer.run([sys.executable, "-c", before + code + after]), re.M)
