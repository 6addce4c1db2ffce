"""`python -m pipelines.images --input ... --output ...`: a batch job on pictures. See pipelines/batch/."""

import sys
from collections.abc import Sequence

from pipelines.batch.command_line import main as batch_main


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; the process's exit code."""
    return batch_main(arguments, "images", ("labels",))


if __name__ == "__main__":
    sys.exit(main())
