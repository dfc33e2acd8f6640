"""An API of three things. Plain FastAPI: nothing here looks at a token, because nothing reaches it without a good one.

It declares its OAuth 2.0 scheme, so that the interactive docs at /docs can sign in; the declaration checks nothing. Their
files are served from here too, so that the docs work where no CDN can be reached.
"""

from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Header, Security, status
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.security import OAuth2PasswordBearer
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

DOCS_FILES = Path(__file__).parent / "node_modules" / "swagger-ui-dist"

# `token` is relative: the browser asks this API's own origin, where Tollgate's token broker answers.
okta = OAuth2PasswordBearer(
    tokenUrl="token",
    scopes={"items": "See the items", "items:write": "Add items"},
    auto_error=False,
)

app = FastAPI(title="Items", docs_url=None, redoc_url=None)
app.mount("/docs/files", StaticFiles(directory=DOCS_FILES))


class Item(BaseModel):
    id: int
    name: str


class NewItem(BaseModel):
    name: str


# In memory, and so in each pod by itself: an example, not a database.
items = [
    Item(id=1, name="red ball"),
    Item(id=2, name="blue square"),
    Item(id=3, name="purple ellipse"),
]


@app.get("/items", dependencies=[Security(okta, scopes=["items"])])
async def list_items() -> list[Item]:
    return items


@app.post("/items", dependencies=[Security(okta, scopes=["items:write"])], status_code=status.HTTP_201_CREATED)
async def add_item(new: NewItem) -> Item:
    item = Item(id=len(items) + 1, name=new.name)
    items.append(item)
    return item


class Caller(BaseModel):
    subject: str | None
    client_id: str | None
    scopes: list[str]


@app.get("/caller", dependencies=[Security(okta)])
async def who_calls(
    subject: Annotated[str | None, Header(alias="X-Tollgate-Subject", include_in_schema=False)] = None,
    client_id: Annotated[str | None, Header(alias="X-Tollgate-Client-Id", include_in_schema=False)] = None,
    scopes: Annotated[str, Header(alias="X-Tollgate-Scopes", include_in_schema=False)] = "",
) -> Caller:
    """Who Tollgate says is calling. These headers can be believed: it removes those that a caller sends."""
    return Caller(subject=subject, client_id=client_id, scopes=scopes.split())


@app.get("/docs", include_in_schema=False)
async def docs() -> HTMLResponse:
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Items",
        swagger_js_url="docs/files/swagger-ui-bundle.js",
        swagger_css_url="docs/files/swagger-ui.css",
        swagger_favicon_url="docs/files/favicon-32x32.png",
    )
