"""What tests of several tiers share: rooms for clouds, media, the overlay, servers, and the product itself.

Read `product/service.py` first: most tests of the API stand on it. Then look up what a test imports:

- `product/`: the API, the whole service, its metrics, batch jobs, and a browser.
- `clouds/`: real providers against fake servers, and the published specifications.
- `samples/`: media files that tests make.
- `overlay/`: network namespaces, and the overlay's two sides as programs.
- `servers/`: databases, S3, HTTP and MongoDB servers beside a test.
- `documents.py`, `manifests.py`, `processes.py`: the repository's documents, Kubernetes manifests, started processes.
"""
