"""`python -m pipelines.audio --input ... --output ...`: a batch job on sound. See pipelines/batch/."""

import sys
from collections.abc import Sequence

from pipelines.batch.command_line import main as batch_main


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; the process's exit code."""
    return batch_main(arguments, "audio", ("transcript", "speech"))


if __name__ == "__main__":
    sys.exit(main())
