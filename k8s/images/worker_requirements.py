"""Prints what a worker image installs: pyproject.toml's packages and the extras named as arguments, without torch and
torchvision, which its base has.
"""

import re
import sys
import tomllib

project = tomllib.load(sys.stdin.buffer)["project"]
extras = project["optional-dependencies"]


def expanded(names: list[str]) -> list[str]:
    """The extras' requirements; an extra may name others of our own, as "aima-media[text,speech]"."""
    found = []
    for name in names:
        for requirement in extras[name]:
            ours = re.fullmatch(rf"{project['name']}\[([^\]]+)\]", requirement)
            found += expanded(ours[1].split(",")) if ours else [requirement]
    return found


for requirement in dict.fromkeys([*project["dependencies"], *expanded(sys.argv[1:])]):
    if not requirement.startswith(("torch==", "torchvision==")):
        print(requirement)
