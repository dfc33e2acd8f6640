"""An app that says exactly what it got: one JSON line for each request, on standard output."""

import json


async def app(scope, receive, send):
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    query = scope["query_string"]
    record = {
        "method": scope["method"],
        "target": (scope["raw_path"] + (b"?" + query if query else b"")).decode("latin-1"),
        "meant": scope["path"],
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        "body": body.decode("latin-1"),
    }
    print(json.dumps(record), flush=True)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
