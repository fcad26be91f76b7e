"""The document and the page that shows it. Neither needs a credential: both are the same for everybody."""

from importlib.resources import files

from aiohttp import web

from edge.http.answer import Answer
from edge.openapi.document import document_text

_HEADERS = {
    # The page is alone: it loads nothing from elsewhere, and nobody frames it.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Pages:
    """Both are made when the edge starts, not when somebody waits for them."""

    def __init__(self) -> None:
        self._document = document_text().encode()
        self._page = files("edge.openapi").joinpath("page.html").read_bytes()

    async def document(self, _request: web.BaseRequest) -> Answer:
        """`/openapi.json`."""
        return Answer(self._document)

    async def page(self, _request: web.BaseRequest) -> web.Response:
        """`/docs`."""
        return web.Response(body=self._page, content_type="text/html", charset="utf-8", headers=_HEADERS)
