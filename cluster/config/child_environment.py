"""What a process that runs other people's code may inherit of ours (DESIGN.md, decision 7)."""

from collections.abc import Mapping

# Named one by one: of what is not here, nobody can say that it holds no secret.
_HARMLESS = {
    "HOME",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "LANG",
    "LANGUAGE",
    "LD_LIBRARY_PATH",
    "LOGNAME",
    "NO_PROXY",
    "PATH",
    "PYTHONPATH",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "USER",
    "VIRTUAL_ENV",
}
_HARMLESS_PREFIXES = ("CUDA_", "LC_", "MKL_", "NVIDIA_", "OMP_", "OPENBLAS_", "PYTHON", "TORCH_")


def storage_access(environment: Mapping[str, str], *urls: str) -> dict[str, str]:
    """The variables that boto3 reads, if one of these URLs needs them: for the head only, workers get signed URLs."""
    if not any(url.startswith(("s3://", "sqs://")) for url in urls):
        return {}
    return {name: value for name, value in environment.items() if name.startswith("AWS_")}


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that programs need to run at all: paths, language, proxies, and how to use cores and GPUs."""
    return {
        name: value
        for name, value in environment.items()
        if name.upper() in _HARMLESS or name.startswith(_HARMLESS_PREFIXES)
    }
