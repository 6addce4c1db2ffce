"""`python -m pipelines.video --input ... --output ...`: a batch job on videos. See pipelines/batch/."""

import sys
from collections.abc import Sequence

from pipelines.analyzers.registry import default_analyzers
from pipelines.batch.command_line import main as batch_main


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; the process's exit code."""
    return batch_main(arguments, "video", default_analyzers())


if __name__ == "__main__":
    sys.exit(main())
