"""The least that aiohttp takes: `python -m bench.aiohttp_caller URL KEYS WORKERS` posts and prints what it took.

Every request is signed and every body read; nothing is journalled, logged, retried or compared.
"""

import asyncio
import hmac
import json
import sys
import time
from base64 import urlsafe_b64encode

import aiohttp

from bench.config import ACCESS_KEY, BUCKET, SECRET_KEY
from bench.tree import key_of


async def main(url: str, keys: int, workers: int) -> None:
    numbers, good = iter(range(keys)), 0

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal good
        for number in numbers:
            target = "/prefetch/" + urlsafe_b64encode(f"{BUCKET}:{key_of(number)}".encode()).decode()
            signature = urlsafe_b64encode(hmac.digest(SECRET_KEY.encode(), f"{target}\n".encode(), "sha1")).decode()
            headers = {
                "Authorization": f"QBox {ACCESS_KEY}:{signature}",
                "Content-Type": "application/x-www-form-urlencoded",
            }
            async with session.post(url + target, headers=headers) as reply:
                await reply.read()
                good += reply.status == 200 and "X-Reqid" in reply.headers

    began = time.perf_counter()
    connector = aiohttp.TCPConnector(limit=workers)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as tasks:
        for _ in range(workers):
            tasks.create_task(work(session))
    print(json.dumps({"loop_s": time.perf_counter() - began, "good": good}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
