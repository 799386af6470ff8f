"""The official SDK on threads: `python -m bench.sdk_caller URL KEYS THREADS` prefetches and prints what it took."""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import qiniu
from qiniu.http.endpoint import Endpoint
from qiniu.http.region import Region, ServiceName

from bench.config import ACCESS_KEY, BUCKET, SECRET_KEY
from bench.tree import key_of


def main(url: str, keys: int, threads: int) -> None:
    qiniu.config.set_default(connection_pool=threads)  # its default of 10 would reconnect all the time
    region = Region("z0", services={name: [Endpoint.from_host(url)] for name in ServiceName})
    buckets = qiniu.BucketManager(qiniu.Auth(ACCESS_KEY, SECRET_KEY), regions=[region], preferred_scheme="http")

    def prefetch(number: int) -> bool:
        _, info = buckets.prefetch(BUCKET, key_of(number))
        return bool(info.ok() and info.req_id)

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        good = sum(pool.map(prefetch, range(keys)))
    print(json.dumps({"loop_s": time.perf_counter() - began, "good": good}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
