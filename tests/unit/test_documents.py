"""What the documents say exists: every link, command, option, setting, file and piece of Python."""

import importlib.util
import io
import re
import runpy
import subprocess
import sys
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import typer
import yaml

from cluster.cli.main import app
from cluster.config.loader import load_settings
from cluster.config.schema import Settings
from pipelines.batch.command_line import parse
from tests.support.documents import DOCUMENTS, ROOT, Block, blocks, commands, inline_commands

# `help_of` runs modules that another test may have imported before.
pytestmark = pytest.mark.filterwarnings(r"ignore:.*found in sys\.modules:RuntimeWarning")
SHELL = blocks("sh")
# Programs of others. What of their commands can be wrong here is the files and names in them.
OTHERS = {"[", "curl", "docker", "eval", "helm", "mkdir", "chmod", "openssl", "grep", "sort", "python3", "ray", "rm"}
OTHERS |= {".venv/bin/pip", "pip", "sqlite3", "kubectl", "eksctl", ".venv/bin/aima", "k8s/images/build.sh"}
OTHERS |= {".venv/bin/python"}
ROOMS = ("autoscaler", "cluster", "k8s", "pipelines", "serve_apps", "tests")


def ids(found: list[Block]) -> list[str]:
    return [block.name for block in found]


def test_every_document_is_tested() -> None:
    here = {str(path.relative_to(ROOT)) for room in ROOMS for path in (ROOT / room).rglob("*.md")}
    assert here | {"README.md", ".github/CONTRIBUTING.md"} == set(DOCUMENTS)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    path = ROOT / document
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", path.read_text()):
        file, _, anchor = link.partition("#")
        target = path if not file else path.parent / file
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}, link


@pytest.mark.parametrize("block", SHELL, ids=ids(SHELL))
def test_shell_blocks_are_shell(block: Block) -> None:
    checked = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("block", SHELL, ids=ids(SHELL))
def test_every_command_exists_and_takes_its_options(block: Block) -> None:
    for words in commands(block):
        check(words)


def test_commands_in_running_text_exist() -> None:
    found = list(inline_commands("aima")) + list(inline_commands("python"))
    assert len(found) > 15
    for document, words in found:
        if "..." not in words:
            check(words, document)


def check(words: list[str], where: str = "") -> None:
    """Raises AssertionError for a command that is not there, or not with these options or files."""
    program = Path(words[0]).name
    if program == "aima":
        check_aima(words[1:], whole=not where)
    elif program == "python" and words[1:2] == ["-m"]:
        check_module(words[2], words[3:])
    else:
        assert words[0] in OTHERS, f"{where}: {words}"
    for word in words:
        if re.match(rf"(?:{'|'.join(ROOMS)})/", word):
            assert (ROOT / word.split("::")[0]).exists(), f"{word} is not there"


def check_aima(words: list[str], whole: bool) -> None:
    """Let the command line take the words apart, without running what they say; in running text some may lack."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words, "a command is missing"
        assert words[0] in command.commands, f"aima {words[0]}: there is no such command"
        command, words = command.commands[words[0]], words[1:]
    try:
        command.make_context(command.name, list(words)).close()
    except Exception as error:  # typer's own click, whose errors have no public name
        if whole or type(error).__name__ != "MissingParameter":
            raise AssertionError(f"aima {command.name}: {error}") from error


def check_module(module: str, words: list[str]) -> None:
    """The module is there and its command line takes these words."""
    assert importlib.util.find_spec(module) is not None, module
    if module in ("pipelines.video", "pipelines.images", "pipelines.audio") and words:
        kind = module.rpartition(".")[2]
        assert parse(words, kind, ["labels"] if kind != "audio" else ["speech"]).inputs
    elif module != "pytest":
        said = help_of(module)
        for option in (word.partition("=")[0] for word in words if word.startswith("--")):
            assert option in said, f"python -m {module} takes no {option}"


@cache
def help_of(module: str) -> str:
    """What `python -m MODULE --help` prints. In this process: another would import all anew."""
    said = io.StringIO()
    with mock.patch.object(sys, "argv", [module, "--help"]), redirect_stdout(said), pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert not ended.value.code, module
    return said.getvalue()


@pytest.mark.parametrize("block", blocks("yaml"), ids=ids(blocks("yaml")))
def test_settings_in_documents_are_valid(block: Block, tmp_path: Path) -> None:
    document = yaml.safe_load(block.text)
    if "scrape_configs" in document:  # Prometheus's own
        (job,) = document["scrape_configs"]
        assert job["static_configs"]
        return
    path = tmp_path / "aima.yaml"
    path.write_text(block.text)
    load_settings(path, {})


def test_settings_named_in_running_text_exist() -> None:
    sections = {name: field.annotation for name, field in Settings.model_fields.items()}
    checked = 0
    for document in DOCUMENTS:
        for section, key in re.findall(r"`(\w+)\.(\w+)[`:]", (ROOT / document).read_text()):
            fields = getattr(sections.get(section), "model_fields", None)
            if fields is not None:
                assert key in fields, f"{document}: {section}.{key}"
                checked += 1
    assert checked > 5


@pytest.mark.parametrize("block", blocks("python"), ids=ids(blocks("python")))
def test_python_in_documents_compiles_and_finds_its_names(block: Block) -> None:
    """What needs no cluster is run; the rest is compiled here and run by the integration tests."""
    code = compile(block.text, block.name, "exec")
    if "cluster.client" not in block.text:
        names: dict[str, Any] = {}
        exec(code, names)
        if "Redness" in names:
            assert names["Redness"]().description.lane == "cpu"
    for module, imported in re.findall(r"^from ([\w.]+) import (.+)$", block.text, re.M):
        found = importlib.import_module(module)
        for name in imported.split(", "):
            assert hasattr(found, name.strip()), f"{module}.{name}"


def test_nothing_tells_people_to_install_a_strangers_package() -> None:
    """On the package index, the name "aima" belongs to the code of a textbook."""
    named = re.compile(r"(?:pip install|uv add|pipx install)[^\n`&;|]*?[ '\"](aima)(?=[\s'\"\[=<>~`]|$)|`aima\[", re.M)
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    texts = [
        name
        for name in listed
        if not name.endswith((".csv", ".png", ".webp", ".json")) and "test_documents" not in name
    ]
    assert [name for name in texts if named.search((ROOT / name).read_text(encoding="utf-8"))] == []
    assert named.search("pip install 'aima[worker]'")
    assert named.search("pip install --upgrade aima")
    assert not named.search("pip install 'aima-media[worker]' && aima demo")
