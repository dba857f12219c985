"""The OpenAPI document and a page that shows it; everything comes from this package, nothing from other hosts."""

from pathlib import Path

import msgspec
from litestar import Response, get

from postbusd.admin_api.rest.backend import ApiRequest
from postbusd.admin_api.rest.repeating import PARAMETER, takes_key

STATIC = Path(__file__).resolve().parent.parent / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


@get("/openapi.json", include_in_schema=False, public=True)
async def get_openapi(request: ApiRequest) -> Response[bytes]:
    """The API's own description, made at the first request."""
    state = request.app.state
    if "openapi_document" not in state:
        document = request.app.openapi_schema.to_schema()
        handlers = {
            each.handler_name: each for route in request.app.routes for each in getattr(route, "route_handlers", ())
        }
        for item in document["paths"].values():
            for method, operation in item.items():
                public = {} in operation.get("security", [])
                if method != "get" and not public and takes_key(handlers[operation["operationId"]]):
                    operation.setdefault("parameters", []).append(PARAMETER)
        state.openapi_document = msgspec.json.encode(document)
    return Response(state.openapi_document, media_type="application/vnd.oai.openapi+json; version=3.1")


@get("/docs", include_in_schema=False, public=True, sync_to_thread=False)
def get_docs() -> Response[bytes]:
    """The page."""
    return _serve("docs.html", "text/html")


@get("/docs/docs.js", include_in_schema=False, public=True, sync_to_thread=False)
def get_docs_script() -> Response[bytes]:
    """Its script."""
    return _serve("docs.js", "text/javascript")


@get("/docs/docs.css", include_in_schema=False, public=True, sync_to_thread=False)
def get_docs_style() -> Response[bytes]:
    """Its style."""
    return _serve("docs.css", "text/css")


def _serve(name: str, media_type: str) -> Response[bytes]:
    return Response(
        (STATIC / name).read_bytes(),
        media_type=media_type,
        headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"},
    )
