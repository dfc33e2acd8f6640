"""An app for the rollout's test: GET /items answers at once, GET /download takes the seconds that its query says."""

import asyncio

import uvicorn


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    seconds = int(scope["query_string"] or b"0")
    length = str(1024 * max(seconds, 1)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    for second in range(seconds):
        await send({"type": "http.response.body", "body": b"x" * 1024, "more_body": second + 1 < seconds})
        await asyncio.sleep(1)
    if seconds == 0:
        await send({"type": "http.response.body", "body": b"x" * 1024})


uvicorn.run(app, host="127.0.0.1", port=8000, access_log=False)
