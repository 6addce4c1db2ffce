"""Which models a request may name by their file: a stranger's path is not read with the workers' rights."""

import pytest

from cluster.service.analyzer_catalog import catalog
from pipelines.errors import InvalidOption
from serve_apps.analyses import Lane

LANES = [Lane.GPU, Lane.CPU]
SHA = "#sha256=" + "0" * 64


@pytest.mark.parametrize(
    ("analyzer", "model"),
    [
        ("objects", "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn"),
        ("labels", "torchvision:resnet18"),
        ("transcript", "whisper-base"),
        ("objects", "/models/a.onnx" + SHA),
        ("objects", "/models//deep/./b.onnx"),
        ("objects", "s3://weights/public/a.onnx"),
        ("transcript", "/models/whisper-small"),
    ],
)
def test_names_and_allowed_places_may_be_named(analyzer: str, model: str) -> None:
    known = catalog(LANES, ["/models/", "s3://weights/public"])
    assert known.check_options(analyzer, {"model": model}) == {"model": model}


@pytest.mark.parametrize(
    ("analyzer", "model"),
    [
        ("objects", "/home/other/secret.onnx"),
        ("objects", "/models/../home/other/secret.onnx"),
        ("objects", "/models-of-others/a.onnx"),
        ("objects", "~/a.onnx"),
        ("objects", "./a.onnx"),
        ("objects", "s3://weights/private/a.onnx"),
        ("objects", "s3://weights/public/../private/a.onnx"),
        ("objects", "s3://weights/public?endpoint_override=evil.example/a.onnx"),
        ("objects", "s3://weights/public/a.onnx?endpoint_override=evil.example&x=/b.onnx"),
        ("transcript", "/etc"),
        ("transcript", "../models"),
    ],
)
def test_other_places_may_not(analyzer: str, model: str) -> None:
    known = catalog(LANES, ["/models/", "s3://weights/public"])
    with pytest.raises(InvalidOption, match="its file may lie below: /models/, s3://weights/public") as refused:
        known.check_options(analyzer, {"model": model})
    assert (refused.value.option, refused.value.value) == ("model", model.partition("#")[0])
    with pytest.raises(InvalidOption, match=r"nowhere, unless the deployment's models\.places says where"):
        catalog(LANES).check_options(analyzer, {"model": model})
