"""The habits that a machine can hold: the README's names exist, imports and sizes keep their bounds."""

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("autoscaler", "cluster", "pipelines", "serve_apps")


def sources() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def test_every_file_the_readme_names_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / "README.md").read_text())
    assert len(links) > 15
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_ci_runs_the_readmes_test_command() -> None:
    printed = subprocess.run(
        ["bash", "-c", "source <(sed -n '/^command=/p' .ci/run); echo \"$command\""],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert printed
    assert "\n" not in printed
    assert f"```sh\n{printed}\n```" in (ROOT / "README.md").read_text()
    assert printed.endswith("python -m pytest")


def test_files_and_functions_keep_their_size() -> None:
    too_long = []
    for path in sources():
        text = path.read_text()
        if text.count("\n") > 300:
            too_long.append(f"{path}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or 0) - node.lineno + 1
                if size > 60:
                    too_long.append(f"{path}:{node.lineno} {node.name}: {size} lines")
    assert too_long == []
