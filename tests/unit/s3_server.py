"""A server that speaks S3, for tests; it keeps what it is given in memory."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from collections.abc import Iterator
from typing import Any

NEEDED = ("boto3", "moto", "flask", "snakemake_storage_plugin_s3")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
REASON = f"needs {', '.join(MISSING)}: pip install '.[s3]' 'moto[server]'" if MISSING else None
KEYS = {"access_key": "me", "secret_key": "secret", "region": "us-east-1"}


@contextlib.contextmanager
def s3_server(bucket: str) -> Iterator[tuple[str, Any]]:
    """Serve one empty bucket until the end of the block: the server's address, and the bucket as boto3 sees it."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    reached = boto3.resource(
        "s3",
        endpoint_url=address,
        aws_access_key_id=KEYS["access_key"],
        aws_secret_access_key=KEYS["secret_key"],
        region_name=KEYS["region"],
    )
    made = reached.create_bucket(Bucket=bucket)
    try:
        yield address, made
    finally:
        made.objects.all().delete()
        server.stop()
