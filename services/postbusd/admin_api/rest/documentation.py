"""The OpenAPI document and a page that shows it; everything comes from this package, nothing from other hosts."""

from pathlib import Path

from litestar import Response, get

from postbusd.admin_api.rest.backend import ApiRequest

STATIC = Path(__file__).resolve().parent.parent / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


@get("/openapi.json", include_in_schema=False, public=True)
async def get_openapi(request: ApiRequest) -> Response[object]:
    """The API's own description."""
    return Response(request.app.openapi_schema.to_schema(), media_type="application/vnd.oai.openapi+json; version=3.1")


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
