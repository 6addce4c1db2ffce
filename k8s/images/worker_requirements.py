"""Prints what a worker image installs: pyproject.toml without torch and torchvision, which its base has."""

import sys
import tomllib

project = tomllib.load(sys.stdin.buffer)["project"]
for requirement in (*project["dependencies"], *project["optional-dependencies"]["worker"]):
    if not requirement.startswith(("torch==", "torchvision==")):
        print(requirement)
